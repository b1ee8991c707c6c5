/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers: the ways in which this node runs pods. A RuntimeClass names one; a pod that names none gets the
 * default, "vm". A pod's annotations may change some settings of its handler, where the handler allows it
 * and within its limits. Every other annotation of this prefix is refused, so that none is ignored.
 *
 * A table is constant once it is made: any thread may read it, and what it returns is borrowed from it.
 */
#pragma once

#include <glib.h>

#include "api.pb-c.h"
#include "sandbox/pods/vm_size.h"

#define HANDLER_DEFAULT "vm"
#define HANDLER_ANNOTATION_PREFIX "io.crivirt."

typedef enum {
    HANDLER_VM,   /* a VM for each pod */
    HANDLER_HOST, /* the node itself, for system pods that need it, isolated as containers only */
} HandlerKind;

/* "vm", "host" */
const char *handler_kind_name(HandlerKind kind);
gboolean handler_kind_from_name(const char *name, HandlerKind *ret_kind);

typedef struct {
    const char *name; /* a DNS label */
    HandlerKind kind; /* the rest is for HANDLER_VM only */
    VmBounds bounds;
    const char *kernel;
    const char *initrd;
    const char *accelerator;       /* "auto", "kvm", "tcg" */
    const char *kernel_parameters; /* in addition to those that every guest gets */
    gboolean template;             /* its guests may start from a template */
    /* What the annotations of a pod may set: "vcpus", "memory", "kernel-parameters"; NULL-terminated. */
    const char *const *annotations;
    /* The names of the kernel parameters that "kernel-parameters" may set; empty: any. */
    const char *const *pod_kernel_parameters;
} Handler;

typedef struct HandlerTable HandlerTable;

/* Copies the handlers; the first is the default. */
HandlerTable *handler_table_new(const Handler *handlers, gsize n_handlers);
void handler_table_free(HandlerTable *table); /* takes NULL */
/* Return: all handlers, the default first. */
const Handler *handler_table_all(const HandlerTable *table, gsize *ret_n);
/* Return: the first handler of that kind; NULL: none. */
const Handler *handler_table_find_kind(const HandlerTable *table, HandlerKind kind);
/* Return: the handler of that name, "" being the default; NULL with INVALID_ARGUMENT, which lists the known
 * names. */
const Handler *handler_table_find(const HandlerTable *table, const char *name, GError **error);

/* The settings for one pod's VM: its handler's, as its annotations change them. */
typedef struct {
    VmBounds bounds;
    const char *kernel; /* borrowed from the handler */
    const char *initrd;
    const char *accelerator;
    char *kernel_parameters; /* owned */
    gboolean template;
} HandlerSettings;

/* INVALID_ARGUMENT naming the annotation, and what is allowed. The caller clears *ret_settings. */
gboolean handler_settings(const Handler *handler, const Runtime__V1__PodSandboxConfig *config,
                          HandlerSettings *ret_settings, GError **error);
void handler_settings_clear(HandlerSettings *settings);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HandlerSettings, handler_settings_clear)
