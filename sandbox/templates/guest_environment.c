/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/guest_environment.h"

enum { TAP_ID_DIGITS = 12 }; /* names of interfaces end at 15 bytes */

static char *guest_directory(const char *parent, const char *kind, const char *id)
{
    g_autofree char *name = g_strndup(id, GUEST_DIRECTORY_ID_DIGITS);

    return g_build_filename(parent, kind, name, NULL);
}

char *guest_run_dir(const GuestEnvironment *env, const char *id)
{
    return guest_directory(env->run_dir, "vm", id);
}

char *guest_state_dir(const GuestEnvironment *env, const char *id)
{
    return guest_directory(env->state_dir, "pods", id);
}

static char *guest_run_file(const GuestEnvironment *env, const char *id, const char *name)
{
    g_autofree char *directory = guest_run_dir(env, id);

    return g_build_filename(directory, name, NULL);
}

char *guest_agent_socket(const GuestEnvironment *env, const char *id)
{
    return guest_run_file(env, id, "agent.sock");
}

char *guest_console_path(const GuestEnvironment *env, const char *id)
{
    return guest_run_file(env, id, "console.log");
}

char *guest_disk_path(const GuestEnvironment *env, const char *id)
{
    g_autofree char *directory = guest_state_dir(env, id);

    return g_build_filename(directory, GUEST_DISK_NAME, NULL);
}

char *guest_netns_path(const GuestEnvironment *env, const char *id)
{
    return guest_directory(env->run_dir, "netns", id);
}

char *guest_tap(const char *id)
{
    return g_strdup_printf("cv%.*s", TAP_ID_DIGITS, id);
}
