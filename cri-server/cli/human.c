/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/human.h"

#include <string.h>

enum { SHORT_ID_DIGITS = 12 };
static const gint64 second_ns = G_GINT64_CONSTANT(1000000000);

char *human_duration(gint64 duration_ns)
{
    gint64 seconds = duration_ns / second_ns;
    gint64 minutes = seconds / 60;
    gint64 hours = (minutes + 30) / 60;
    gint64 days = hours / 24;

    if (seconds < 1)
        return g_strdup("Less than a second");
    if (seconds == 1)
        return g_strdup("1 second");
    if (seconds < 60)
        return g_strdup_printf("%" G_GINT64_FORMAT " seconds", seconds);
    if (minutes == 1)
        return g_strdup("About a minute");
    if (minutes < 60)
        return g_strdup_printf("%" G_GINT64_FORMAT " minutes", minutes);
    if (hours == 1)
        return g_strdup("About an hour");
    if (hours < 48)
        return g_strdup_printf("%" G_GINT64_FORMAT " hours", hours);
    if (days < 14)
        return g_strdup_printf("%" G_GINT64_FORMAT " days", days);
    if (days < 60)
        return g_strdup_printf("%" G_GINT64_FORMAT " weeks", days / 7);
    if (days < 730)
        return g_strdup_printf("%" G_GINT64_FORMAT " months", days / 30);
    return g_strdup_printf("%" G_GINT64_FORMAT " years", days / 365);
}

char *human_ago(gint64 then_ns, gint64 now_ns)
{
    g_autofree char *duration = NULL;

    if (then_ns <= 0)
        return g_strdup("");
    duration = human_duration(now_ns - then_ns);
    return g_strconcat(duration, " ago", NULL);
}

char *human_size(guint64 bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double size = (double)bytes;
    guint unit = 0;
    int decimals;

    while (size >= 999.5 && unit + 1 < G_N_ELEMENTS(units)) {
        size /= 1000;
        unit++;
    }
    /* Prints three significant digits. */
    decimals = unit == 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
    return g_strdup_printf("%.*f%s", decimals, size, units[unit]);
}

char *human_rfc3339(gint64 time_ns)
{
    g_autoptr(GDateTime) moment = NULL;
    g_autofree char *text = NULL;

    if (time_ns <= 0 || (moment = g_date_time_new_from_unix_utc(time_ns / second_ns)) == NULL)
        return g_strdup("");
    text = g_date_time_format(moment, "%Y-%m-%dT%H:%M:%S");
    return g_strdup_printf("%s.%09" G_GINT64_FORMAT "Z", text, time_ns % second_ns);
}

char *human_short_id(const char *id)
{
    if (g_str_has_prefix(id, "sha256:"))
        id += strlen("sha256:");
    return g_strndup(id, SHORT_ID_DIGITS);
}

gint64 human_now_ns(void)
{
    return g_get_real_time() * 1000;
}
