/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/spawn.h"

#include <signal.h>

int spawn_clean(pid_t *ret_pid, const char *program, const posix_spawn_file_actions_t *actions,
                char *const *argv, char *const *environment)
{
    posix_spawnattr_t attributes;
    sigset_t none, defaults;

    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawn(ret_pid, program, actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    return error;
}
