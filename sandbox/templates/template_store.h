/* SPDX-License-Identifier: Apache-2.0 */
/* The node's templates: one for each VM spec that a pod asked for, created in the background by booting a
 * guest of that spec, saving it, and removing it. No pod waits for a template: a pod that finds none boots.
 *
 * A template that cannot be created, or from which a guest cannot be restored, is quarantined: KEY.bad keeps
 * the reason, and the template's other files are deleted. The template is created again when a pod or the VM
 * pool asks for it: at once after the first failure, and with growing pauses after the next ones (retry.h),
 * during which guests of its spec boot. Templates of other versions, and those unused for long, are deleted.
 *
 * Threads: any.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/template.h"

#define TEMPLATE_UNFINISHED_SUFFIX ".new"
#define TEMPLATE_BAD_SUFFIX ".bad"
#define TEMPLATE_REASON "reason"
/* In KEY.bad while no try is made: the time of the next one, in ISO 8601. `crivirt doctor` reads it. */
#define TEMPLATE_NEXT_TRY "next-try"

typedef struct TemplateStore TemplateStore;

/* What the store does with VMs and the clock, which unit tests replace. */
typedef struct {
    /* As template_inputs(). */
    char **(*inputs)(const GuestEnvironment *env, const DomainSpec *spec, GError **error);
    /* As template_make(). */
    gboolean (*make)(const GuestEnvironment *env, const DomainSpec *spec, const char *const *inputs,
                     const char *directory, GCancellable *cancellable, GError **error);
    gint64 (*now_us)(void); /* as g_get_monotonic_time() */
} TemplateStoreWork;

/* Opens state_dir/templates, and starts the thread that checks the templates there and creates the wanted
 * ones. env is borrowed and must outlive the store. */
TemplateStore *template_store_new(const GuestEnvironment *env);
/* The same with that work, which is copied. */
TemplateStore *template_store_new_with(const GuestEnvironment *env, const TemplateStoreWork *work);
/* Cancels the template that is being created. Takes NULL. */
void template_store_free(TemplateStore *store);

/* Return: the template for guests of that spec, referenced; NULL: there is none yet. It will be created,
 * unless it failed and its pause has not passed. */
Template *template_store_find(TemplateStore *store, const DomainSpec *spec);
/* No guest could be restored from it. Nothing happens when another thread has reported that already. */
void template_store_quarantine(TemplateStore *store, const Template *template, const char *reason);

/* For Status: how many templates are ready, their size on disk, how many are to be created, why some are
 * quarantined ("KEY: reason", NULL-terminated), and the time before which there is no try for those that wait
 * ("KEY: 2030-01-31T12:00:00Z", NULL-terminated). */
typedef struct {
    guint ready;
    guint64 data_bytes;
    guint wanted;
    char **quarantined;
    char **next_tries;
} TemplateCounts;
void template_store_count(TemplateStore *store, TemplateCounts *ret_counts);
void template_counts_clear(TemplateCounts *counts);

/* Creates one in that directory (template_make.c); cancellable ends it early. */
gboolean template_make(const GuestEnvironment *env, const DomainSpec *spec, const char *const *inputs,
                       const char *directory, GCancellable *cancellable, GError **error);
