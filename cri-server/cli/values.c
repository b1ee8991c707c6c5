/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/values.h"

#include <errno.h>
#include <gio/gio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"

/* Parses a plain decimal number: no sign, no exponent, no "inf". *ret_end points behind it. */
static gboolean parse_decimal(const char *text, double *ret_number, const char **ret_end)
{
    gsize length = strspn(text, "0123456789.");
    g_autofree char *digits = g_strndup(text, length);
    char *end = NULL;
    double number = g_ascii_strtod(digits, &end);

    if (length == 0 || length > 32 || *end != '\0')
        return FALSE;
    *ret_number = number;
    *ret_end = text + length;
    return TRUE;
}

gboolean value_parse_size(const char *text, gint64 *ret_bytes, GError **error)
{
    static const char units[] = "bkmgt";
    const char *unit = NULL;
    const char *end = NULL;
    double number = 0;

    if (!parse_decimal(text, &number, &end))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not a size such as 256m or 1g", text);
    if (*end != '\0') {
        unit = strchr(units, g_ascii_tolower(*end));
        end++;
        if (unit != NULL && unit != units && g_ascii_strcasecmp(end, "ib") == 0)
            end += 2;
        else if (unit != NULL && unit != units && g_ascii_strcasecmp(end, "b") == 0)
            end += 1;
        if (unit == NULL || *end != '\0')
            return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" has no unit of b, k, m, g or t", text);
    }
    number *= pow(1024, unit != NULL ? (double)(unit - units) : 0);
    if (number < 1 || number > 9e18)
        return fail(error, STATUS_INVALID_ARGUMENT, "the size \"%s\" is out of range", text);
    *ret_bytes = (gint64)number;
    return TRUE;
}

gboolean value_parse_cpus(const char *text, gint64 *ret_quota_us, GError **error)
{
    const char *end = NULL;
    double number = 0;

    if (!parse_decimal(text, &number, &end) || *end != '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not a number of CPUs such as 1.5", text);
    if (number < 0.01 || number > 4096)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s CPUs is out of range (0.01 to 4096)", text);
    *ret_quota_us = llround(number * VALUE_CPU_PERIOD_US);
    return TRUE;
}

static gboolean parse_whole(const char *text, gint64 max, gint64 *ret_number)
{
    guint64 number = 0;

    if (!g_ascii_string_to_unsigned(text, 10, 0, (guint64)max, &number, NULL))
        return FALSE;
    *ret_number = (gint64)number;
    return TRUE;
}

gboolean value_parse_seconds(const char *text, gint64 *ret_seconds, GError **error)
{
    if (!parse_whole(text, G_MAXINT32, ret_seconds))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not a number of seconds", text);
    return TRUE;
}

gboolean value_parse_count(const char *text, gint64 *ret_count, GError **error)
{
    if (!parse_whole(text, G_MAXINT64, ret_count))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not a whole number", text);
    return TRUE;
}

/* Parses "1h30m", "90s" or "90". Return: FALSE when the text is not a duration. */
static gboolean parse_duration_ns(const char *text, double *ret_ns)
{
    double total_s = 0;

    if (*text == '\0')
        return FALSE;
    while (*text != '\0') {
        double number = 0;

        if (!parse_decimal(text, &number, &text))
            return FALSE;
        if (g_str_has_prefix(text, "ms")) {
            number /= 1000;
            text += 2;
        } else if (*text != '\0') {
            switch (*text++) {
            case 'd':
                number *= 24 * 3600;
                break;
            case 'h':
                number *= 3600;
                break;
            case 'm':
                number *= 60;
                break;
            case 's':
                break;
            default:
                return FALSE;
            }
        }
        total_s += number;
    }
    *ret_ns = total_s * 1e9;
    return TRUE;
}

gboolean value_parse_since(const char *text, gint64 now_ns, gint64 *ret_ns, GError **error)
{
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) moment = NULL;
    g_autofree char *midnight = NULL;
    double ago_ns = 0;

    if (parse_duration_ns(text, &ago_ns)) {
        *ret_ns = ago_ns < (double)now_ns ? now_ns - (gint64)ago_ns : 0;
        return TRUE;
    }
    midnight = g_strconcat(text, strchr(text, 'T') == NULL ? "T00:00:00" : "", NULL);
    moment = g_date_time_new_from_iso8601(midnight, utc);
    if (moment == NULL || g_date_time_to_unix(moment) < 0 || g_date_time_get_year(moment) > 2200)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "\"%s\" is neither a duration such as 10m nor a time such as 2024-05-01T12:00:00Z", text);
    *ret_ns = g_date_time_to_unix(moment) * G_GINT64_CONSTANT(1000000000) +
              g_date_time_get_microsecond(moment) * G_GINT64_CONSTANT(1000);
    return TRUE;
}

/* --- ports --------------------------------------------------------------------------------------------- */

void port_value_free(PortValue *port)
{
    if (port == NULL)
        return;
    g_free(port->host_ip);
    g_free(port);
}

/* "80" or "8000-8003" */
static gboolean parse_port_range(const char *text, int *ret_first, int *ret_count)
{
    g_auto(GStrv) ends = g_strsplit(text, "-", 2);
    guint64 first = 0;
    guint64 last = 0;

    if (ends[0] == NULL || !g_ascii_string_to_unsigned(ends[0], 10, 1, 65535, &first, NULL))
        return FALSE;
    last = first;
    if (ends[1] != NULL && !g_ascii_string_to_unsigned(ends[1], 10, first, 65535, &last, NULL))
        return FALSE;
    *ret_first = (int)first;
    *ret_count = (int)(last - first) + 1;
    return TRUE;
}

static gboolean parse_protocol(const char *name, PortProtocol *ret_protocol)
{
    static const char *const names[] = {[PORT_TCP] = "tcp", [PORT_UDP] = "udp", [PORT_SCTP] = "sctp"};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_ascii_strcasecmp(name, names[i]) == 0) {
            *ret_protocol = (PortProtocol)i;
            return TRUE;
        }
    return FALSE;
}

/* Splits "IP:rest" or "[IPv6]:rest"; *ret_ip is "" when there is no IP. */
static gboolean split_host_ip(const char *text, char **ret_ip, const char **ret_rest)
{
    const char *first = strchr(text, ':');
    const char *last = strrchr(text, ':');
    g_autofree char *ip = NULL;

    if (*text == '[') {
        const char *bracket = strchr(text, ']');

        if (bracket == NULL || bracket[1] != ':')
            return FALSE;
        ip = g_strndup(text + 1, (gsize)(bracket - text - 1));
        *ret_rest = bracket + 2;
    } else if (first != last) {
        ip = g_strndup(text, (gsize)(first - text));
        *ret_rest = first + 1;
    } else {
        *ret_ip = g_strdup("");
        *ret_rest = text;
        return TRUE;
    }
    if (!g_hostname_is_ip_address(ip))
        return FALSE;
    *ret_ip = g_steal_pointer(&ip);
    return TRUE;
}

gboolean value_parse_ports(const char *text, GPtrArray *ports, GError **error)
{
    g_auto(GStrv) halves = g_strsplit(text, "/", 2);
    g_auto(GStrv) sides = NULL;
    g_autofree char *host_ip = NULL;
    const char *rest = NULL;
    PortProtocol protocol = PORT_TCP;
    int host_first = 0;
    int host_count = 0;
    int container_first = 0;
    int container_count = 0;

    if (halves[0] == NULL || (halves[1] != NULL && !parse_protocol(halves[1], &protocol)) ||
        !split_host_ip(halves[0], &host_ip, &rest))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not [IP:]HOST:CONTAINER[/tcp|udp|sctp]", text);
    sides = g_strsplit(rest, ":", -1);
    if (g_strv_length(sides) != 2)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "\"%s\" must name both ports: HOST:CONTAINER, for example 8080:80", text);
    if (!parse_port_range(sides[0], &host_first, &host_count) ||
        !parse_port_range(sides[1], &container_first, &container_count) || host_count != container_count)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "\"%s\" has a port that is not 1 to 65535, or ranges of different length", text);
    for (int i = 0; i < host_count; i++) {
        PortValue *port = g_new0(PortValue, 1);

        port->host_ip = g_strdup(host_ip);
        port->host_port = host_first + i;
        port->container_port = container_first + i;
        port->protocol = protocol;
        g_ptr_array_add(ports, port);
    }
    return TRUE;
}

/* --- volumes, environment, labels ---------------------------------------------------------------------- */

void volume_value_clear(VolumeValue *volume)
{
    g_clear_pointer(&volume->source, g_free);
    g_clear_pointer(&volume->target, g_free);
}

gboolean value_parse_volume(const char *text, const char *directory, VolumeValue *ret_volume, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", -1);
    guint n = g_strv_length(parts);
    gboolean readonly = FALSE;

    if (n < 2 || n > 3)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not SOURCE:TARGET[:ro]", text);
    if (n == 3 && strcmp(parts[2], "ro") != 0 && strcmp(parts[2], "rw") != 0)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "\"%s\" ends in \"%s\"; the allowed options are ro and rw", text, parts[2]);
    readonly = n == 3 && strcmp(parts[2], "ro") == 0;
    if (parts[0][0] != '/' && parts[0][0] != '.')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "\"%s\": the source must be a path, because crivirt has no named volumes", text);
    if (parts[1][0] != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\": the target must be an absolute path", text);
    ret_volume->source = g_canonicalize_filename(parts[0], directory);
    ret_volume->target = g_strdup(parts[1]);
    ret_volume->readonly = readonly;
    return TRUE;
}

gboolean value_parse_env(const char *text, char **ret_name, char **ret_value, GError **error)
{
    const char *equals = strchr(text, '=');
    const char *value = equals != NULL ? equals + 1 : g_getenv(text);

    if (*text == '\0' || equals == text)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" has no name", text);
    if (!g_utf8_validate(text, -1, NULL) || (value != NULL && !g_utf8_validate(value, -1, NULL)))
        return fail(error, STATUS_INVALID_ARGUMENT, "the value of %.*s is not UTF-8", (int)strcspn(text, "="),
                    text);
    *ret_name = value == NULL ? NULL : g_strndup(text, strcspn(text, "="));
    *ret_value = g_strdup(value);
    return TRUE;
}

gboolean value_parse_label(const char *text, char **ret_key, char **ret_value, GError **error)
{
    gsize length = strcspn(text, "=");

    if (length == 0 || !g_utf8_validate(text, -1, NULL))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not KEY=VALUE", text);
    *ret_key = g_strndup(text, length);
    *ret_value = g_strdup(text[length] == '=' ? text + length + 1 : "");
    return TRUE;
}

gboolean value_check_name(const char *text, GError **error)
{
    gsize length = strlen(text);

    if (length == 0 || length > 63 || !g_ascii_isalnum(*text) ||
        strspn(text, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-") != length)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "\"%s\" is not 1 to 63 letters, digits, \"_\", \".\" or \"-\" that start with a letter or "
            "digit",
            text);
    return TRUE;
}

gboolean value_parse_user(const char *text, gint64 *ret_uid, gint64 *ret_gid, char **ret_name, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", 2);
    gint64 uid = -1;
    gint64 gid = -1;

    if (*text == '\0' || *parts[0] == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not UID[:GID] or NAME", text);
    if (!parse_whole(parts[0], G_MAXUINT32, &uid)) {
        if (parts[1] != NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\": a group needs a numeric user (UID:GID)",
                        text);
        *ret_name = g_strdup(text);
        *ret_uid = -1;
        *ret_gid = -1;
        return TRUE;
    }
    if (parts[1] != NULL && !parse_whole(parts[1], G_MAXUINT32, &gid))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\": the group must be a number", text);
    *ret_uid = uid;
    *ret_gid = gid;
    *ret_name = NULL;
    return TRUE;
}
