/* SPDX-License-Identifier: Apache-2.0 */
/* Measures what unpacking a layer costs: for ordinary layers and for bombs, the peak of the memory of a
 * process of its own, its processor time, and the ratios that the limits of images.max_layer_memory and
 * max_layer_time depend on: memory accounted to memory measured, and limit to memory.
 *
 *     layer_cost [PATTERN]     only the layers whose name contains PATTERN
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "image-service/layers/layer.h"
#include "tests/unit/test_layers.h"

enum { DIR_MODE = S_IFDIR | 0755, FILE_MODE = S_IFREG | 0644, ORDINARY = 100000, MANY_LAYERS = 64 };

typedef struct {
    const char *name;
    void (*fill)(TestTar *tar, guint layer);
    guint layers; /* read before the first one is finished */
} Case;

/* Directories first, as archivers write them. */
static void fill_files(TestTar *tar, G_GNUC_UNUSED guint layer)
{
    for (guint i = 0; i < ORDINARY; i++) {
        g_autofree char *directory = g_strdup_printf("usr/share/package-%u", i / 20);
        g_autofree char *file = g_strdup_printf("%s/document-%u.txt", directory, i);

        if (i == 0) {
            test_tar_add(tar, "usr", DIR_MODE, NULL);
            test_tar_add(tar, "usr/share", DIR_MODE, NULL);
        }
        if (i % 20 == 0)
            test_tar_add(tar, directory, DIR_MODE, NULL);
        test_tar_add(tar, file, FILE_MODE, "text");
    }
}

static void fill_node_modules(TestTar *tar, guint layer)
{
    for (guint i = 0; i < ORDINARY; i++) {
        g_autofree char *name = g_strdup_printf(
            "srv/app/node_modules/@scope-%u/package-%u/node_modules/inner/lib/es5/module-%u-%u.js",
            i / 20 % 50, i / 20, layer, i);

        test_tar_add(tar, name, FILE_MODE, "text");
    }
}

static void fill_small(TestTar *tar, guint layer)
{
    for (guint i = 0; i < ORDINARY / MANY_LAYERS; i++) {
        g_autofree char *name = g_strdup_printf("opt/part-%u/lib/file-%u-%u.so", i / 20, layer, i);

        test_tar_add(tar, name, FILE_MODE, "text");
    }
}

static void fill_attributes(TestTar *tar, G_GNUC_UNUSED guint layer)
{
    enum { DIRECTORIES = 8000, VALUE_BYTES = 60000 };
    g_autofree char *value = g_malloc0(VALUE_BYTES);

    for (guint i = 0; i < DIRECTORIES; i++) {
        g_autofree char *name = g_strdup_printf("%u", i);

        test_tar_add_entry(tar, &(TestTarEntry){.path = name,
                                                .mode = DIR_MODE,
                                                .xattr_name = "user.large",
                                                .xattr_value = value,
                                                .xattr_length = VALUE_BYTES});
    }
}

static void fill_directories(TestTar *tar, G_GNUC_UNUSED guint layer)
{
    enum { DIRECTORIES = 400000 };

    for (guint i = 0; i < DIRECTORIES; i++) {
        g_autofree char *name = g_strdup_printf("%u", i);

        test_tar_add(tar, name, DIR_MODE, NULL);
    }
}

/* All names have one g_str_hash(): "Az" and "BY" are equal to it. */
static void fill_colliding(TestTar *tar, G_GNUC_UNUSED guint layer)
{
    enum { PAIRS = 16 };

    for (guint i = 0; i < 1 << PAIRS; i++) {
        g_autoptr(GString) name = g_string_new(NULL);

        for (guint pair = 0; pair < PAIRS; pair++)
            g_string_append(name, (i >> pair & 1) != 0 ? "Az" : "BY");
        test_tar_add(tar, name->str, FILE_MODE, "");
    }
}

/* Each name walks thousands of parts of links. */
static void fill_long_ways(TestTar *tar, G_GNUC_UNUSED guint layer)
{
    enum { NAMES = 200000, TARGET_PARTS = 400 };
    g_autoptr(GString) target = g_string_new("x");

    for (guint i = 0; i < TARGET_PARTS; i++)
        g_string_append(target, "/../x");
    test_tar_add(tar, "x", DIR_MODE, NULL);
    test_tar_add(tar, "l", S_IFLNK | 0777, target->str);
    test_tar_add(tar, "x/l", S_IFLNK | 0777, "../l");
    for (guint i = 0; i < NAMES; i++) {
        g_autofree char *name = g_strdup_printf("l/l/l/l/l/l/l/%u", i);

        test_tar_add(tar, name, FILE_MODE, "");
    }
}

static const Case cases[] = {
    {"100,000 files in 5,000 directories", fill_files, 1},
    {"node_modules, 100,000 files, no directories", fill_node_modules, 1},
    {"64 layers of 1,562 files, all waiting", fill_small, MANY_LAYERS},
    {"bomb: 8,000 directories of 60 KB attributes", fill_attributes, 1},
    {"bomb: 400,000 directories", fill_directories, 1},
    {"bomb: 65,536 names of one hash", fill_colliding, 1},
    {"bomb: 200,000 long ways over links", fill_long_ways, 1},
};

static gsize peak_bytes(void)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/self/status", &text, NULL, NULL) ||
        (line = strstr(text, "VmHWM:")) == NULL)
        return 0;
    return (gsize)g_ascii_strtoull(line + strlen("VmHWM:"), NULL, 10) * 1024;
}

static double used_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* In a process of its own. */
static void unpack(const Case *test, const int *blobs)
{
    static const char *const nothing[] = {NULL};
    g_autoptr(LowerView) lower = lower_view_open(nothing, NULL);
    g_autoptr(GPtrArray) drafts = g_ptr_array_new_with_free_func((GDestroyNotify)layer_draft_free);
    LayerSpec spec = {.max_bytes = G_GUINT64_CONSTANT(32) << 30};
    g_autoptr(GError) error = NULL;
    guint64 waiting = 0;
    guint64 accounted = 0;
    gsize before = peak_bytes();
    double began = used_s();
    double peak;

    for (guint i = 0; i < test->layers && error == NULL; i++) {
        LayerFiles files = {.blob_fd = blobs[i], .image_fd = memfd_create("image", MFD_CLOEXEC)};
        LayerDraft *draft = layer_read(&files, &spec, NULL, &error);

        if (draft == NULL)
            break;
        g_ptr_array_add(drafts, draft);
        accounted = MAX(accounted, waiting + layer_draft_peak_memory_bytes(draft));
        waiting += layer_draft_memory_bytes(draft);
    }
    for (guint i = 0; i < drafts->len && error == NULL; i++)
        layer_draft_finish(drafts->pdata[i], lower, "sha256:key", NULL, &error);
    peak = (double)(peak_bytes() - before);
    printf("%-45s %8.1f %8.2f", test->name, peak / (1 << 20), used_s() - began);
    if (error == NULL)
        printf(" %9.2f %9.1f\n", (double)accounted / peak, (double)LAYER_DEFAULT_MEMORY_BYTES / peak);
    else
        printf("  %.90s\n", error->message);
}

static void measure(const Case *test)
{
    g_autofree int *blobs = g_new0(int, test->layers);
    pid_t child;

    for (guint i = 0; i < test->layers; i++) {
        TestTar *tar = test_tar_new("pax", "zstd");

        test->fill(tar, i);
        blobs[i] = test_tar_finish(tar);
    }
    fflush(stdout);
    child = fork();
    if (child == 0) {
        unpack(test, blobs);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    for (guint i = 0; i < test->layers; i++)
        close(blobs[i]);
}

int main(int argc, char **argv)
{
    printf("%-45s %8s %8s %9s %9s\n", "layer", "peak MiB", "CPU s", "accounted", "limit");
    printf("%-45s %8s %8s %9s %9s\n", "", "", "", "/peak", "/peak");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        if (argc < 2 || strstr(cases[i].name, argv[1]) != NULL)
            measure(&cases[i]);
    return 0;
}
