/* SPDX-License-Identifier: Apache-2.0 */
#include "common/settings/pod_defaults.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"

#define ZONES "/usr/share/zoneinfo/"
#define TZFILE_MAGIC "TZif"
#define ZONE_CHARACTERS G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_+-"

/* ---- ulimits ---- */

static const char *const ulimit_names[] = {"as",      "core",     "cpu",        "data",   "fsize", "locks",
                                           "memlock", "msgqueue", "nice",       "nofile", "nproc", "rss",
                                           "rtprio",  "rttime",   "sigpending", "stack",  NULL};

static gboolean limit_parse(const char *text, guint64 *ret_limit)
{
    if (g_str_equal(text, "unlimited")) {
        *ret_limit = G_MAXUINT64;
        return TRUE;
    }
    return g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, ret_limit, NULL);
}

gboolean ulimit_parse(const char *text, Ulimit *ret_ulimit, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, "=", 2);
    g_auto(GStrv) limits = words[0] != NULL && words[1] != NULL ? g_strsplit(words[1], ":", 2) : NULL;
    g_autofree char *upper = NULL;
    Ulimit ulimit;

    if (limits == NULL || !g_strv_contains(ulimit_names, words[0]) || limits[0] == NULL ||
        !limit_parse(limits[0], &ulimit.soft) ||
        !limit_parse(limits[1] != NULL ? limits[1] : limits[0], &ulimit.hard) || ulimit.soft > ulimit.hard) {
        g_autofree char *names = g_strjoinv(", ", (char **)ulimit_names);

        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "\"%.100s\" is not NAME=SOFT[:HARD] with numbers or unlimited, SOFT at most HARD, and a NAME of "
            "%s",
            text, names);
    }
    upper = g_ascii_strup(words[0], -1);
    g_snprintf(ulimit.type, sizeof ulimit.type, "RLIMIT_%s", upper);
    *ret_ulimit = ulimit;
    return TRUE;
}

/* ---- variables and sysctls ---- */

gboolean assignment_parse(const char *text, char **ret_name, const char **ret_value, GError **error)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || equals == text)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.100s\" is not NAME=VALUE", text);
    *ret_name = g_strndup(text, (gsize)(equals - text));
    *ret_value = equals + 1;
    return TRUE;
}

/* ---- time zones ---- */

/* A zone is a path below the node's directory of zones. */
static gboolean time_zone_check(const char *zone, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(zone, "/", -1);
    gboolean good = *parts != NULL;

    for (char **part = parts; *part != NULL; part++)
        good = good && g_ascii_isalnum(**part) && strspn(*part, ZONE_CHARACTERS) == strlen(*part);
    return good || fail(error, STATUS_INVALID_ARGUMENT,
                        "\"%.100s\" is not the name of a time zone such as Europe/Berlin, nor local", zone);
}

gboolean time_zone_read(const char *zone, char **ret_text, gsize *ret_length, GError **error)
{
    g_autofree char *path =
        g_str_equal(zone, "local") ? g_strdup("/etc/localtime") : g_strconcat(ZONES, zone, NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) failure = NULL;
    gsize length;

    if (!time_zone_check(zone, error))
        return FALSE;
    if (!file_read(path, TIME_ZONE_MAX_BYTES, &text, &length, &failure))
        return fail(error, STATUS_FAILED_PRECONDITION, "this node has no time zone %s: %s", zone,
                    failure->message);
    if (length < strlen(TZFILE_MAGIC) || memcmp(text, TZFILE_MAGIC, strlen(TZFILE_MAGIC)) != 0)
        return fail(error, STATUS_FAILED_PRECONDITION, "%s is not a file of a time zone", path);
    *ret_text = g_steal_pointer(&text);
    *ret_length = length;
    return TRUE;
}

/* ---- a handler ---- */

static gboolean ulimits_check(const char *const *list, GError **error)
{
    Ulimit ulimit;

    for (; *list != NULL; list++)
        if (!ulimit_parse(*list, &ulimit, error)) {
            g_prefix_error(error, "ulimits: ");
            return FALSE;
        }
    return TRUE;
}

static gboolean assignments_check(const char *key, const char *const *list, GError **error)
{
    for (; *list != NULL; list++) {
        g_autofree char *name = NULL;
        const char *value;

        if (!assignment_parse(*list, &name, &value, error)) {
            g_prefix_error(error, "%s: ", key);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean pod_defaults_check(const Handler *handler, GError **error)
{
    if (!ulimits_check(handler->ulimits, error) ||
        !assignments_check("environment", handler->environment, error) ||
        !assignments_check("sysctls", handler->sysctls, error))
        return FALSE;
    if (*handler->time_zone != '\0' && !time_zone_check(handler->time_zone, error)) {
        g_prefix_error(error, "time_zone: ");
        return FALSE;
    }
    if (handler_is_host(handler) && (*handler->sysctls != NULL || handler->max_processes != 0))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s: a handler of kind host has no guest of its own, and would set them for the node",
                    *handler->sysctls != NULL ? "sysctls" : "max_processes");
    return TRUE;
}
