/* SPDX-License-Identifier: Apache-2.0 */
/* Layers on top of each other, composed of the bytes of the input: entries of every kind under few names, so
 * that they meet. Each layer is built on those before it, and all names are then looked for in what came of
 * them: an image that this program wrote must not be found damaged.
 *
 * A byte chooses what comes next, and those behind it are its parameters; an input that ends is zeros. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/layers/layer.h"
#include "tests/fuzz/input.h"

enum { BLOCK = 512, MAX_LAYERS = 4, MAX_ENTRIES = 200, MAX_PARTS = 5, MAX_DEPTH = 4 };

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static const char *const names[] = {
    "a",
    "b",
    "c",
    "d",
    "lib",
    "usr",
    "..",
    ".",
    "",
    ".wh.a",
    ".wh.b",
    ".wh.lib",
    ".wh..wh..opq",
    ".wh..wh.plnk",
    "a-name-that-is-longer-than-others-and-fills-blocks-of-directories-sooner"};
static const guint16 sizes[] = {0, 1, 100, 511, 512, 513, 4000, 4031, 4095, 4096, 4097, 8192, 12000};

/* Absolute when the byte says so. A link's path may lead anywhere, also upwards. */
static char *take_path(Input *input)
{
    guint8 shape = take(input);
    g_autoptr(GString) path = g_string_new((shape & 0x80) != 0 ? "/" : "");

    for (guint i = shape % MAX_PARTS; i > 0; i--)
        g_string_append_printf(path, "%s/", names[take(input) % G_N_ELEMENTS(names)]);
    g_string_append(path, names[take(input) % G_N_ELEMENTS(names)]);
    return g_strdup(path->str);
}

/* The tar */

static void put_block(GByteArray *tar, const void *bytes, gsize length)
{
    static const guint8 zeros[BLOCK];

    if (length > 0)
        g_byte_array_append(tar, bytes, (guint)length);
    if (length % BLOCK != 0)
        g_byte_array_append(tar, zeros, (guint)(BLOCK - length % BLOCK));
}

typedef struct {
    char type;
    const char *path;
    const char *link;
    gsize size;
    guint8 mode;
    guint8 device;
} Entry;

static void put_header(GByteArray *tar, const Entry *entry)
{
    char header[BLOCK] = {0};
    guint sum = 0;

    strncpy(header, entry->path, 100); /* NOLINT: a field without NUL when it is full */
    g_snprintf(header + 100, 8, "%07o", entry->mode | 0644U);
    g_snprintf(header + 108, 8, "%07o", entry->mode % 3);
    g_snprintf(header + 116, 8, "%07o", entry->mode % 5);
    g_snprintf(header + 124, 12, "%011o", (guint)entry->size);
    g_snprintf(header + 136, 12, "%011o", entry->mode * 1000U);
    header[156] = entry->type;
    if (entry->link != NULL)
        strncpy(header + 157, entry->link, 100); /* NOLINT */
    memcpy(header + 257, "ustar", 6);
    header[263] = header[264] = '0';
    g_snprintf(header + 329, 8, "%07o", entry->device % 4);
    g_snprintf(header + 337, 8, "%07o", entry->device % 3);
    memset(header + 148, ' ', 8);
    for (gsize i = 0; i < sizeof header; i++)
        sum += (guint8)header[i];
    g_snprintf(header + 148, 7, "%06o", sum);
    put_block(tar, header, sizeof header);
}

static void put_record(GString *records, const char *key, const char *value)
{
    gsize rest = strlen(key) + strlen(value) + 3;
    gsize length = rest;

    for (int i = 0; i < 3; i++) {
        g_autofree char *digits = g_strdup_printf("%zu", length);

        length = rest + strlen(digits);
    }
    g_string_append_printf(records, "%zu %s=%s\n", length, key, value);
}

/* What comes before an entry in a pax header: paths of any length, attributes. */
static void put_pax(GByteArray *tar, Input *input, const char *path, const char *link)
{
    static const char *const keys[] = {"SCHILY.xattr.user.colour",
                                       "SCHILY.xattr.user.size",
                                       "SCHILY.xattr.trusted.overlay.opaque",
                                       "SCHILY.acl.access",
                                       "mtime",
                                       "GNU.sparse.map",
                                       "GNU.sparse.size",
                                       "uid"};
    static const char *const values[] = {
        "", "1", "user::rwx,group::r--,other::---", "-1.5", "0,1,4096,1", "4097", "y", "99999999999"};
    g_autoptr(GString) records = g_string_new(NULL);

    put_record(records, "path", path);
    if (link != NULL)
        put_record(records, "linkpath", link);
    for (guint i = take(input) % 4; i > 0; i--) {
        const char *key = keys[take(input) % G_N_ELEMENTS(keys)];
        guint8 value = take(input);
        g_autofree char *filled = g_strnfill(value * 64UL, 'v');

        put_record(records, key, value < 128 ? values[value % G_N_ELEMENTS(values)] : filled);
    }
    put_header(tar, &(Entry){.type = 'x', .path = "pax", .size = records->len});
    put_block(tar, records->str, records->len);
}

static void put_entry(GByteArray *tar, Input *input)
{
    static const char types[] = {'0', '0', '5', '5', '2', '1', '3', '4', '6', '7'};
    guint8 kind = take(input);
    g_autofree char *path = take_path(input);
    g_autofree char *link = NULL;
    Entry entry = {.type = types[kind % sizeof types], .path = path, .mode = take(input)};

    if (entry.type == '1' || entry.type == '2')
        link = take_path(input);
    entry.link = link;
    if (entry.type == '0')
        entry.size = sizes[take(input) % G_N_ELEMENTS(sizes)];
    if (entry.type == '3' || entry.type == '4')
        entry.device = take(input);
    if ((kind & 0x80) != 0 || strlen(path) > 100 || (link != NULL && strlen(link) > 100))
        put_pax(tar, input, path, link);
    put_header(tar, &entry);
    if (entry.size > 0) {
        g_autofree char *content = g_strnfill(entry.size, (char)('A' + entry.mode % 16));

        put_block(tar, content, entry.size);
    }
}

/* Layers */

typedef struct {
    char *paths[MAX_LAYERS + 1]; /* of the images, lowest first */
    int fds[MAX_LAYERS];
    guint n;
} Stack;

/* Return: whether the layer was good, and is on the stack now. */
static gboolean add_layer(Stack *stack, const GByteArray *tar, guint8 limits)
{
    static const guint64 memory[] = {4 << 20, 1 << 20, 400 << 10, 340 << 10};
    LayerSpec spec = {.max_bytes = 1 << 20,
                      .max_entries = (limits & 0x80) != 0 ? 10 : 1000,
                      .max_memory_bytes = memory[limits % G_N_ELEMENTS(memory)]};
    LayerFiles files = {.blob_fd = memfd_create("blob", MFD_CLOEXEC),
                        .image_fd = memfd_create("image", MFD_CLOEXEC)};
    g_autoptr(LowerView) lower = lower_view_open((const char *const *)stack->paths, NULL);
    g_autoptr(LayerDraft) draft = NULL;
    gboolean done = FALSE;

    if (lower == NULL)
        abort();
    if (pwrite(files.blob_fd, tar->data, tar->len, 0) == (ssize_t)tar->len)
        draft = layer_read(&files, &spec, NULL, NULL);
    if (draft != NULL)
        done = layer_draft_finish(draft, lower, "sha256:key", NULL, NULL);
    close(files.blob_fd);
    if (!done) {
        close(files.image_fd);
        return FALSE;
    }
    stack->fds[stack->n] = files.image_fd;
    stack->paths[stack->n++] = g_strdup_printf("/proc/self/fd/%d", files.image_fd);
    return TRUE;
}

static void stack_clear(Stack *stack)
{
    for (guint i = 0; i < stack->n; i++) {
        close(stack->fds[i]);
        g_free(stack->paths[i]);
    }
}

/* Looks for every name below a directory of all layers together. */
static void look_below(const LowerDirectory *directory, guint depth)
{
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_auto(LowerEntry) entry = {0};
        g_autoptr(GError) error = NULL;
        ErofsContent content;

        if (*names[i] == '\0' || names[i][0] == '.')
            continue;
        if (!lower_view_find(directory, names[i], &entry, &error))
            g_error("an image that was written is damaged: %s", error->message);
        if (S_ISREG(entry.attributes.mode) && !erofs_reader_content(entry.reader, entry.nid, &content, NULL))
            g_error("the content of a file that was written is damaged");
        if (entry.directory != NULL && depth < MAX_DEPTH)
            look_below(entry.directory, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    Input input = {data, size};
    Stack stack = {0};

    while (input.left > 0 && stack.n < MAX_LAYERS) {
        g_autoptr(GByteArray) tar = g_byte_array_new();
        guint8 limits = take(&input);

        for (guint i = 0; i < MAX_ENTRIES && input.left > 0 && *input.data != 0xff; i++)
            put_entry(tar, &input);
        take(&input); /* the byte that ends the layer */
        if (!add_layer(&stack, tar, limits) && input.left == 0)
            break;
    }
    if (stack.n > 0) {
        g_autoptr(LowerView) all = lower_view_open((const char *const *)stack.paths, NULL);

        if (all == NULL)
            g_error("an image that was written cannot be opened");
        look_below(lower_view_root(all), 0);
    }
    stack_clear(&stack);
    return 0;
}
