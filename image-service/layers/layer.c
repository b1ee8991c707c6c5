/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer.h"

#include "common/error.h"
#include "image-service/layers/layer_tar.h"
#include "image-service/layers/layer_tree.h"

enum { DEFAULT_MAX_ENTRIES = 2000000 };

struct LayerDraft {
    ErofsWriter *writer;
    GPtrArray *names; /* LayerName; empty when the tree is final */
    LayerTree *tree;  /* of a self-contained layer, or of a finished one */
    gboolean is_self_contained;
    guint max_entries;
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

static gboolean apply_names(const LayerDraft *draft, LayerTree *tree, const Deadline *deadline,
                            GError **error)
{
    enum { NAMES_PER_CHECK = 1024 };

    for (guint i = 0; i < draft->names->len; i++) {
        const LayerName *name = g_ptr_array_index(draft->names, i);

        if (i % NAMES_PER_CHECK == 0 && !deadline_check(deadline, "unpacking a layer", error))
            return FALSE;
        if (!layer_tree_apply(tree, name, error)) {
            g_autofree char *shown = g_strescape(name->path, NULL);

            g_prefix_error(error, "entry \"%.256s\": ", shown);
            return FALSE;
        }
    }
    return TRUE;
}

/* Applies the names without knowing what is below. When nothing depends on that, the tree is the layer's
 * wherever it is used, and an error is final; otherwise both are discarded. */
static gboolean try_self_contained(LayerDraft *draft, const Deadline *deadline, GError **error)
{
    g_autoptr(LayerTree) tree = layer_tree_new(draft->max_entries, NULL);
    g_autoptr(GError) failure = NULL;
    gboolean done = apply_names(draft, tree, deadline, &failure);

    if (layer_tree_depends_on_lower(tree))
        return TRUE;
    if (!done) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    draft->tree = g_steal_pointer(&tree);
    draft->is_self_contained = TRUE;
    g_ptr_array_set_size(draft->names, 0);
    return TRUE;
}

LayerDraft *layer_read(const LayerFiles *files, const LayerSpec *spec, const Deadline *deadline,
                       GError **error)
{
    g_autoptr(LayerDraft) draft = g_new0(LayerDraft, 1);

    draft->max_entries = spec->max_entries != 0 ? spec->max_entries : DEFAULT_MAX_ENTRIES;
    draft->max_bytes = spec->max_bytes;
    draft->writer = erofs_writer_new(files->image_fd);
    draft->names = layer_tar_read(files, spec, draft->max_entries, draft->writer, deadline, error);
    if (draft->names == NULL || !try_self_contained(draft, deadline, error))
        return NULL;
    return g_steal_pointer(&draft);
}

gboolean layer_draft_is_self_contained(const LayerDraft *draft)
{
    return draft->is_self_contained;
}

gboolean layer_draft_finish(LayerDraft *draft, LowerView *lower, const char *key, const Deadline *deadline,
                            GError **error)
{
    erofs_writer_identify(draft->writer, key);
    if (draft->tree == NULL) {
        draft->tree = layer_tree_new(draft->max_entries, lower);
        layer_tree_copy_to(draft->tree, &(LayerCopies){draft->writer, draft->max_bytes, deadline});
        if (!apply_names(draft, draft->tree, deadline, error))
            return FALSE;
    }
    return layer_tree_write(draft->tree, draft->writer, error) && erofs_writer_finish(draft->writer, error);
}
