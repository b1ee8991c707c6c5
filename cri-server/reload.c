/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/reload.h"

#include "common/log.h"
#include "common/metrics.h"
#include "cri-server/image_settings.h"
#include "cri-server/notify.h"

static void apply(const Daemon *daemon, Settings *next)
{
    g_autofree char *root = g_build_filename(next->server.state_dir, "images", NULL);
    const ImageServiceConfig images = image_settings(next, root);
    LogLevel level = LOG_LEVEL_INFO;

    log_level_from_name(next->log.level, &level);
    image_service_configure(daemon->images, &images);
    live_settings_replace(daemon->live, settings_ref(next));
    sandbox_manager_reload(daemon->sandboxes);
    log_set_level(level);
}

static void report_change(const ConfigChange *change)
{
    const char *const *fields = LOG_FIELDS("option", change->name);

    if (change->needs_restart)
        log_warning(fields,
                    "the configuration sets %s to %s, which needs a restart of crivirtd; %s stays in force",
                    change->name, change->after, change->before);
    else if (change->before == NULL)
        log_info(fields, "the configuration has a new handler: %s", change->name);
    else if (change->after == NULL)
        log_info(fields, "the configuration no longer has %s; its pods keep running", change->name);
    else
        log_info(fields, "%s changes from %s to %s", change->name, change->before, change->after);
}

/* Return: the line about all changes, which the caller frees. */
static char *summary(const GPtrArray *changes)
{
    g_autoptr(GString) waiting = g_string_new(NULL);
    guint applied = 0;

    for (guint i = 0; i < changes->len; i++) {
        const ConfigChange *change = changes->pdata[i];

        if (change->needs_restart)
            g_string_append_printf(waiting, "%s%s", waiting->len > 0 ? ", " : "", change->name);
        else
            applied++;
    }
    if (waiting->len == 0)
        return g_strdup_printf("the configuration was read again: %u changes apply", applied);
    return g_strdup_printf("the configuration was read again: %u changes apply; a restart is needed for %s",
                           applied, waiting->str);
}

static Metric reloads =
    METRIC_COUNTER("crivirt_config_reloads_total", "Reloads of the configuration, by result.", "result");

/* Return: what the service manager shows, which the caller frees. */
static char *reload(const Daemon *daemon, int argc, char **argv)
{
    g_autoptr(Settings) running = live_settings_get(daemon->live);
    g_autoptr(GPtrArray) changes = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(Settings) next = config_reload(argc, argv, running, &changes, &error);
    char *text;

    metric_add(&reloads, 1, next != NULL ? "ok" : "failed", NULL);
    if (next == NULL) {
        log_error(LOG_NO_FIELDS, "the configuration has an error, and stays as it was: %s", error->message);
        return g_strdup_printf("the last reload failed: %s", error->message);
    }
    apply(daemon, next);
    for (guint i = 0; i < changes->len; i++)
        report_change(changes->pdata[i]);
    text = summary(changes);
    log_info(LOG_NO_FIELDS, "%s", text);
    return text;
}

void daemon_reload(const Daemon *daemon, int argc, char **argv)
{
    g_autofree char *begin =
        g_strdup_printf("RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, g_get_monotonic_time());
    g_autofree char *text = NULL;
    g_autofree char *end = NULL;

    notify_manager(begin);
    text = reload(daemon, argc, argv);
    end = g_strdup_printf("READY=1\nSTATUS=%s", g_strdelimit(text, "\n", ' '));
    notify_manager(end);
}
