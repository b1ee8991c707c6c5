/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/http_request.h"

#include <string.h>

#include "common/error.h"

gsize http_head_length(const guint8 *bytes, gsize length)
{
    const guint8 *end = memmem(bytes, length, "\r\n\r\n", 4);

    return end != NULL ? (gsize)(end - bytes) + 4 : 0;
}

void http_request_free(HttpRequest *request)
{
    if (request == NULL)
        return;
    g_free(request->method);
    g_free(request->path);
    g_ptr_array_unref(request->names);
    g_ptr_array_unref(request->values);
    g_free(request);
}

static gboolean is_token(const char *text)
{
    const char *it = text;

    while (g_ascii_isalnum(*it) || (*it != '\0' && strchr("!#$%&'*+-.^_`|~", *it) != NULL))
        it++;
    return it > text && *it == '\0';
}

static gboolean is_text(const char *text)
{
    for (; *text != '\0'; text++)
        if (g_ascii_iscntrl(*text) && *text != '\t')
            return FALSE;
    return TRUE;
}

static gboolean parse_request_line(HttpRequest *request, const char *line, GError **error)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 4);

    if (g_strv_length(words) != 3 || !is_token(words[0]) || words[1][0] != '/' ||
        (!g_str_equal(words[2], "HTTP/1.1") && !g_str_equal(words[2], "HTTP/1.0")))
        return fail(error, STATUS_INVALID_ARGUMENT, "the request line is not METHOD /PATH HTTP/1.1");
    request->method = g_strdup(words[0]);
    request->path = g_strndup(words[1], strcspn(words[1], "?"));
    return TRUE;
}

static gboolean parse_header(HttpRequest *request, const char *line, GError **error)
{
    const char *colon = strchr(line, ':');
    g_autofree char *name = colon != NULL ? g_ascii_strdown(line, colon - line) : NULL;

    if (name == NULL || !is_token(name))
        return fail(error, STATUS_INVALID_ARGUMENT, "a header of the request is not NAME: VALUE");
    if (request->names->len >= HTTP_MAX_HEADERS)
        return fail(error, STATUS_INVALID_ARGUMENT, "the request has more than %d headers", HTTP_MAX_HEADERS);
    g_ptr_array_add(request->values, g_strstrip(g_strdup(colon + 1)));
    g_ptr_array_add(request->names, g_steal_pointer(&name));
    return TRUE;
}

static gboolean has_body(const HttpRequest *request)
{
    const char *length = http_request_header(request, "content-length");

    return http_request_header(request, "transfer-encoding") != NULL ||
           (length != NULL && !g_str_equal(length, "0"));
}

HttpRequest *http_request_parse(const guint8 *head, gsize length, GError **error)
{
    g_autoptr(HttpRequest) request = g_new0(HttpRequest, 1);
    g_autofree char *text = g_strndup((const char *)head, length - strlen("\r\n\r\n"));
    g_auto(GStrv) lines = g_strsplit(text, "\r\n", -1);

    request->names = g_ptr_array_new_with_free_func(g_free);
    request->values = g_ptr_array_new_with_free_func(g_free);
    if (strlen(text) != length - strlen("\r\n\r\n") || lines[0] == NULL) {
        fail(error, STATUS_INVALID_ARGUMENT, "the request is empty or contains a NUL byte");
        return NULL;
    }
    for (char **line = lines; *line != NULL; line++) {
        if (!is_text(*line)) {
            fail(error, STATUS_INVALID_ARGUMENT, "the request contains control characters");
            return NULL;
        }
        if (line == lines ? !parse_request_line(request, *line, error) : !parse_header(request, *line, error))
            return NULL;
    }
    if (has_body(request)) {
        fail(error, STATUS_INVALID_ARGUMENT, "a request for a stream must not have a body");
        return NULL;
    }
    return g_steal_pointer(&request);
}

const char *http_request_header(const HttpRequest *request, const char *name)
{
    for (guint i = 0; i < request->names->len; i++)
        if (g_str_equal(request->names->pdata[i], name))
            return request->values->pdata[i];
    return NULL;
}

char **http_request_words(const HttpRequest *request, const char *name)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();

    for (guint i = 0; i < request->names->len; i++) {
        g_auto(GStrv) parts = NULL;

        if (!g_str_equal(request->names->pdata[i], name))
            continue;
        parts = g_strsplit(request->values->pdata[i], ",", -1);
        for (char **part = parts; *part != NULL; part++)
            if (*g_strstrip(*part) != '\0')
                g_ptr_array_add(words, g_strdup(*part));
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&words), FALSE);
}

gboolean http_request_has_word(const HttpRequest *request, const char *name, const char *word)
{
    g_auto(GStrv) words = http_request_words(request, name);

    for (char **it = words; *it != NULL; it++)
        if (g_ascii_strcasecmp(*it, word) == 0)
            return TRUE;
    return FALSE;
}
