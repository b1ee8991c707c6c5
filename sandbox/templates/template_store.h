/* SPDX-License-Identifier: Apache-2.0 */
/* The node's templates: one for each VM spec that a pod asked for, created in the background by booting a
 * guest of that spec, saving it, and removing it. No pod waits for a template: a pod that finds none boots.
 *
 * A template from which a guest cannot be restored is quarantined: its directory becomes KEY.bad, which keeps
 * the reason, and its other files are deleted. It is created once more; when that fails too, guests of its
 * spec boot until the daemon restarts. Templates of other versions, and those unused for long, are deleted.
 *
 * Threads: any.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/template.h"

#define TEMPLATE_UNFINISHED_SUFFIX ".new"
#define TEMPLATE_BAD_SUFFIX ".bad"
#define TEMPLATE_REASON "reason"

typedef struct TemplateStore TemplateStore;

/* Opens state_dir/templates, and starts the thread that checks the templates there and creates the wanted
 * ones. env is borrowed and must outlive the store. */
TemplateStore *template_store_new(const GuestEnvironment *env);
/* Cancels the template that is being created. Takes NULL. */
void template_store_free(TemplateStore *store);

/* Return: the template for guests of that spec, referenced; NULL: there is none yet, and it will be created.
 */
Template *template_store_find(TemplateStore *store, const DomainSpec *spec);
void template_store_quarantine(TemplateStore *store, const Template *template, const char *reason);

/* For Status: how many templates are ready, their size on disk, how many are to be created, and why some are
 * quarantined ("KEY: reason", NULL-terminated). */
typedef struct {
    guint ready;
    guint64 data_bytes;
    guint wanted;
    char **quarantined;
} TemplateCounts;
void template_store_count(TemplateStore *store, TemplateCounts *ret_counts);
void template_counts_clear(TemplateCounts *counts);

/* Creates one in that directory (template_make.c); cancellable ends it early. */
gboolean template_make(const GuestEnvironment *env, const DomainSpec *spec, const char *const *inputs,
                       const char *directory, GCancellable *cancellable, GError **error);
