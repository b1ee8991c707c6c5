/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/image_message.h"

#include <string.h>

static char **copy_strv(Arena *arena, char **strings, size_t *ret_n)
{
    gsize n = strings == NULL ? 0 : g_strv_length(strings);
    char **copy = arena_new0(arena, char *, n);

    for (gsize i = 0; i < n; i++)
        copy[i] = arena_strdup(arena, strings[i]);
    *ret_n = n;
    return copy;
}

/* "uid[:group]" or "name[:group]"; the CRI has a field for each and none for the group. A number that is no
 * valid uid is taken as a name, so that starting a container fails rather than running it as another user.
 */
static void describe_user(Arena *arena, const char *user, Runtime__V1__Image *message)
{
    g_autofree char *name = g_strndup(user, strcspn(user, ":"));
    guint64 uid;

    if (*name == '\0')
        return;
    if (!g_ascii_string_to_unsigned(name, 10, 0, G_MAXUINT32 - 1, &uid, NULL)) {
        message->username = arena_strdup(arena, name);
        return;
    }
    message->uid = arena_new0(arena, Runtime__V1__Int64Value, 1);
    runtime__v1__int64_value__init(message->uid);
    message->uid->value = (gint64)uid;
}

Runtime__V1__Image *image_message(Arena *arena, const Image *image)
{
    Runtime__V1__Image *message = arena_new0(arena, Runtime__V1__Image, 1);

    runtime__v1__image__init(message);
    message->id = arena_strdup(arena, image->id);
    message->repo_tags = copy_strv(arena, image->tags, &message->n_repo_tags);
    message->repo_digests = copy_strv(arena, image->digests, &message->n_repo_digests);
    message->size = image->size_bytes;
    if (image->user != NULL)
        describe_user(arena, image->user, message);
    return message;
}
