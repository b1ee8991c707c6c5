/* SPDX-License-Identifier: Apache-2.0 */
/* Finds a pod's handler, and applies the pod's annotations to its settings.
 *
 * A handler is a way in which this node runs pods (common/settings/handler_options.def). A RuntimeClass names
 * one; a pod that names none gets the default, "vm". A pod's annotations may change some settings of its
 * handler, where the handler allows it and within its limits. Every other annotation of this prefix is
 * refused, so that none is ignored.
 *
 * Ownership: handlers are borrowed from the Settings. Threads: any.
 */
#pragma once

#include <glib.h>

#include "api.pb-c.h"
#include "common/settings/settings.h"
#include "sandbox/pods/vm_size.h"

#define HANDLER_DEFAULT "vm"
#define HANDLER_ANNOTATION_PREFIX "io.crivirt."

typedef enum {
    HANDLER_VM,   /* a VM for each pod */
    HANDLER_HOST, /* the node itself, for system pods that need it, isolated as containers only */
} HandlerKind;

/* Return: "vm" or "host"; static. */
const char *handler_kind_name(HandlerKind kind);
gboolean handler_kind_from_name(const char *name, HandlerKind *ret_kind);

HandlerKind handler_kind(const Handler *handler);
/* Return: the first handler of that kind; NULL when there is none. handlers are Settings.handlers, as below.
 */
const Handler *handler_find_kind(const GPtrArray *handlers, HandlerKind kind);
/* Return: the handler of that name; "" is the default.
 * Errors: INVALID_ARGUMENT, which lists the handlers. */
const Handler *handler_find(const GPtrArray *handlers, const char *name, GError **error);

/* Checks that the host.pods and host.namespaces of these settings let a pod of the Kubernetes namespace run
 * by the handler. Errors: PERMISSION_DENIED, which names the namespace and the allowed ones. */
gboolean handler_allows(const Handler *handler, const Settings *settings, const char *namespace,
                        GError **error);

/* The settings for one pod's VM: its handler's, as its annotations change them. */
typedef struct {
    VmBounds bounds;
    const char *kernel; /* borrowed from the handler */
    const char *initrd;
    const char *accelerator;
    const char *cpu;
    char *kernel_parameters; /* owned */
    gboolean template;
} HandlerSettings;

/* INVALID_ARGUMENT naming the annotation, and what is allowed. The caller clears *ret_settings. */
gboolean handler_settings(const Handler *handler, const Runtime__V1__PodSandboxConfig *config,
                          HandlerSettings *ret_settings, GError **error);
void handler_settings_clear(HandlerSettings *settings);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HandlerSettings, handler_settings_clear)
