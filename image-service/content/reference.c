/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/reference.h"

#include <string.h>

#include "common/error.h"
#include "image-service/content/digest.h"

#define DEFAULT_DOMAIN "docker.io"
#define DEFAULT_TAG "latest"

enum { MAX_NAME_LENGTH = 255, MAX_TEXT_LENGTH = 1024 };

/* The grammar of https://github.com/distribution/reference */
static const char domain_pattern[] = "\\A(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
                                     "(?:\\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
                                     "|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?\\z";
static const char repository_pattern[] = "\\A[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*"
                                         "(?:/[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*)*\\z";
static const char tag_pattern[] = "\\A[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}\\z";
static const char bare_id_pattern[] = "\\A[a-f0-9]{64}\\z";

static gboolean matches(const char *pattern, const char *text)
{
    return g_regex_match_simple(pattern, text, G_REGEX_DOLLAR_ENDONLY, 0);
}

static gboolean has_upper(const char *text)
{
    return strcspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(text);
}

static gboolean fail_reference(GError **error, const char *text, const char *why)
{
    /* The text may hold anything; a message holds UTF-8. */
    g_autofree char *shown = g_utf8_make_valid(text, (gssize)strnlen(text, MAX_TEXT_LENGTH));

    return fail(error, STATUS_INVALID_ARGUMENT, "invalid image reference \"%s\": %s", shown, why);
}

/* A first component is a registry when it could not be a part of a repository's name on Docker Hub. */
static gboolean is_domain(const char *component)
{
    return strpbrk(component, ".:[") != NULL || g_str_equal(component, "localhost") || has_upper(component);
}

/* "host/path" into its halves, completed for Docker Hub. */
static void split_name(const char *name, char **ret_domain, char **ret_repository)
{
    const char *slash = strchr(name, '/');
    g_autofree char *first = slash != NULL ? g_strndup(name, (gsize)(slash - name)) : NULL;
    const char *rest = name;

    if (first != NULL && is_domain(first))
        rest = slash + 1;
    else
        g_clear_pointer(&first, g_free);
    if (first == NULL || g_str_equal(first, "index.docker.io")) {
        g_free(first);
        first = g_strdup(DEFAULT_DOMAIN);
    }
    *ret_repository = g_strconcat(
        g_str_equal(first, DEFAULT_DOMAIN) && strchr(rest, '/') == NULL ? "library/" : "", rest, NULL);
    *ret_domain = g_steal_pointer(&first);
}

static gboolean check_name(const char *text, const Reference *reference, GError **error)
{
    if (!matches(domain_pattern, reference->domain))
        return fail_reference(error, text, "the registry is no host name or host:port");
    if (has_upper(reference->repository))
        return fail_reference(error, text, "the repository name must be lowercase");
    if (!matches(repository_pattern, reference->repository))
        return fail_reference(error, text,
                              "the repository name must be made of a-z, 0-9 and single separators");
    if (strlen(reference->domain) + 1 + strlen(reference->repository) > MAX_NAME_LENGTH)
        return fail_reference(error, text, "the name is longer than 255 characters");
    return TRUE;
}

gboolean reference_parse(const char *text, Reference **ret_reference, GError **error)
{
    g_autoptr(Reference) reference = g_new0(Reference, 1);
    g_autofree char *name = NULL;
    const char *at;
    char *colon;

    if (*text == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "the image reference is empty");
    if (strnlen(text, MAX_TEXT_LENGTH) == MAX_TEXT_LENGTH)
        return fail_reference(error, text, "it is too long");
    at = strchr(text, '@');
    if (at != NULL && !digest_is_valid(at + 1))
        return fail_reference(error, text, "what follows \"@\" is no sha256 or sha512 digest");
    reference->digest = at != NULL ? g_strdup(at + 1) : NULL;
    name = at != NULL ? g_strndup(text, (gsize)(at - text)) : g_strdup(text);

    colon = strrchr(name, ':');
    if (colon != NULL && strchr(colon, '/') == NULL) {
        if (!matches(tag_pattern, colon + 1))
            return fail_reference(error, text, "the tag must be 1 to 128 of A-Z, a-z, 0-9, _, . and -");
        *colon = '\0';
        reference->tag = g_strdup(colon + 1);
    }
    if (matches(bare_id_pattern, name))
        return fail_reference(error, text, "64 hexadecimal digits are an image id, not a name");
    split_name(name, &reference->domain, &reference->repository);
    if (!check_name(text, reference, error))
        return FALSE;
    if (reference->digest != NULL)
        g_clear_pointer(&reference->tag, g_free);
    else if (reference->tag == NULL)
        reference->tag = g_strdup(DEFAULT_TAG);
    *ret_reference = g_steal_pointer(&reference);
    return TRUE;
}

Reference *reference_copy(const Reference *reference)
{
    Reference *copy = g_new0(Reference, 1);

    copy->domain = g_strdup(reference->domain);
    copy->repository = g_strdup(reference->repository);
    copy->tag = g_strdup(reference->tag);
    copy->digest = g_strdup(reference->digest);
    return copy;
}

void reference_free(Reference *reference)
{
    if (reference == NULL)
        return;
    g_free(reference->domain);
    g_free(reference->repository);
    g_free(reference->tag);
    g_free(reference->digest);
    g_free(reference);
}

char *reference_name(const Reference *reference)
{
    return g_strdup_printf("%s/%s", reference->domain, reference->repository);
}

char *reference_to_string(const Reference *reference)
{
    if (reference->digest != NULL)
        return reference_with_digest(reference, reference->digest);
    return g_strdup_printf("%s/%s:%s", reference->domain, reference->repository, reference->tag);
}

char *reference_with_digest(const Reference *reference, const char *digest)
{
    return g_strdup_printf("%s/%s@%s", reference->domain, reference->repository, digest);
}
