/* The node's templates: one for each shape of machine that was asked for, made in the background by booting a
 * guest of that shape, saving it, and ending it. Nobody waits for one: who finds none boots.
 *
 * A template that does not give a guest is quarantined: its directory becomes KEY.bad, with the reason in it,
 * and its files go. It is made anew once; if that one is no good either, guests of the shape boot until
 * the daemon is started again. Templates of other versions, and those that nobody used for long, are deleted.
 *
 * Internal to this folder. Any thread may call.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/template.h"

#define TEMPLATE_UNFINISHED_SUFFIX ".new"
#define TEMPLATE_BAD_SUFFIX ".bad"
#define TEMPLATE_REASON "reason"

typedef struct TemplateStore TemplateStore;

/* Below state_dir/templates. Starts the thread that looks through what is there and makes what is wanted. */
TemplateStore *template_store_new(const GuestEnvironment *env);
/* Ends what is being made. Takes NULL. */
void template_store_free(TemplateStore *store);

/* What guests of that shape can be filled with, referenced; NULL: nothing yet, and it will be made. */
Template *template_store_find(TemplateStore *store, const DomainSpec *shape);
void template_store_quarantine(TemplateStore *store, const Template *template, const char *reason);

/* For Status: how many there are, what they take on disk, whether one is being made, and why some were
 * quarantined ("KEY: reason", NULL-terminated). */
typedef struct {
    guint ready;
    guint64 data_bytes;
    guint wanted;
    char **quarantined;
} TemplateCounts;
void template_store_count(TemplateStore *store, TemplateCounts *ret_counts);
void template_counts_clear(TemplateCounts *counts);

/* Makes one (template_make.c): directory is where it will be; cancellable ends it early. */
gboolean template_make(const GuestEnvironment *env, const DomainSpec *shape, const char *const *inputs,
                       const char *directory, GCancellable *cancellable, GError **error);
