/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer.h"

#include "common/error.h"
#include "image-service/layers/layer_tar.h"
#include "image-service/layers/layer_tree.h"

enum {
    DEFAULT_MAX_ENTRIES = 2000000,
    WRITER_BYTES = 320 << 10, /* the open extent of inodes */
};

struct LayerDraft {
    LayerBudget budget;
    ErofsWriter *writer;
    GPtrArray *names; /* LayerName; empty when the tree is final */
    LayerTree *tree;  /* of a self-contained layer, or of a finished one */
    gboolean is_self_contained;
    guint64 max_bytes;
};

void layer_draft_free(LayerDraft *draft)
{
    if (draft == NULL)
        return;
    erofs_writer_free(draft->writer);
    g_clear_pointer(&draft->names, g_ptr_array_unref);
    layer_tree_free(draft->tree);
    g_free(draft);
}

guint64 layer_draft_memory_bytes(const LayerDraft *draft)
{
    return draft->budget.memory_bytes;
}

guint64 layer_draft_peak_memory_bytes(const LayerDraft *draft)
{
    return draft->budget.peak_memory_bytes;
}

static gboolean apply_names(LayerDraft *draft, LayerTree *tree, GError **error)
{
    for (guint i = 0; i < draft->names->len; i++) {
        const LayerName *name = g_ptr_array_index(draft->names, i);

        if (!layer_budget_tick(&draft->budget, error))
            return FALSE;
        if (!layer_tree_apply(tree, name, error)) {
            g_autofree char *shown = g_strescape(name->path, NULL);

            g_prefix_error(error, "entry \"%.256s\": ", shown);
            return FALSE;
        }
    }
    return TRUE;
}

/* Whether the layer could not be unpacked with other layers below it, either. */
static gboolean is_final(const GError *failure)
{
    StatusCode status = failure != NULL ? error_status(failure) : STATUS_UNKNOWN;

    return status == STATUS_RESOURCE_EXHAUSTED || status == STATUS_CANCELLED ||
           status == STATUS_DEADLINE_EXCEEDED;
}

/* Applies the names without knowing what is below. When nothing depends on that, the tree is the layer's
 * wherever it is used, and an error is final; otherwise both are discarded. An error of the budget is final
 * in any case: it would come again. */
static gboolean try_self_contained(LayerDraft *draft, GError **error)
{
    guint64 names_bytes = draft->budget.memory_bytes - layer_budget_cost(WRITER_BYTES);
    g_autoptr(LayerTree) tree = layer_tree_new(&draft->budget, NULL);
    g_autoptr(GError) failure = NULL;
    gboolean done = apply_names(draft, tree, &failure);

    if (layer_tree_depends_on_lower(tree) && !is_final(failure))
        return TRUE;
    if (!done) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    draft->tree = g_steal_pointer(&tree);
    draft->is_self_contained = TRUE;
    g_ptr_array_set_size(draft->names, 0);
    layer_budget_give(&draft->budget, names_bytes);
    return TRUE;
}

static LayerLimits limits_of(const LayerSpec *spec)
{
    return (LayerLimits){
        .max_entries = spec->max_entries != 0 ? spec->max_entries : DEFAULT_MAX_ENTRIES,
        .max_memory_bytes = spec->max_memory_bytes != 0 ? spec->max_memory_bytes : LAYER_DEFAULT_MEMORY_BYTES,
        .max_time_ms = spec->max_time_ms != 0 ? spec->max_time_ms : LAYER_DEFAULT_TIME_MS,
    };
}

LayerDraft *layer_read(const LayerFiles *files, const LayerSpec *spec, const Deadline *deadline,
                       GError **error)
{
    g_autoptr(LayerDraft) draft = g_new0(LayerDraft, 1);
    gboolean done;

    draft->budget.limits = limits_of(spec);
    draft->max_bytes = spec->max_bytes;
    draft->writer = erofs_writer_new(files->image_fd);
    layer_budget_begin(&draft->budget, deadline);
    if (layer_budget_take(&draft->budget, WRITER_BYTES, error))
        draft->names = layer_tar_read(files, spec, &draft->budget, draft->writer, error);
    done = draft->names != NULL && try_self_contained(draft, error);
    layer_budget_end(&draft->budget);
    return done ? g_steal_pointer(&draft) : NULL;
}

gboolean layer_draft_is_self_contained(const LayerDraft *draft)
{
    return draft->is_self_contained;
}

static gboolean finish(LayerDraft *draft, LowerView *lower, GError **error)
{
    if (draft->tree == NULL) {
        draft->tree = layer_tree_new(&draft->budget, lower);
        layer_tree_copy_to(draft->tree, draft->writer, draft->max_bytes);
        if (!apply_names(draft, draft->tree, error))
            return FALSE;
    }
    return layer_tree_write(draft->tree, draft->writer, error) && erofs_writer_finish(draft->writer, error);
}

gboolean layer_draft_finish(LayerDraft *draft, LowerView *lower, const char *key, const Deadline *deadline,
                            GError **error)
{
    gboolean done;

    erofs_writer_identify(draft->writer, key);
    layer_budget_begin(&draft->budget, deadline);
    done = finish(draft, lower, error);
    layer_budget_end(&draft->budget);
    return done;
}
