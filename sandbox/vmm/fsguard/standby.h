/* SPDX-License-Identifier: Apache-2.0 */
/* A standby: a second process with the same state, which continues when the first one is killed.
 *
 * It is a fork of the first process, with its memory and descriptors at that time, so that a new one is made
 * whenever the state has changed. The first process sends it only a goodbye.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    int fd; /* readable when the standby has died; -1: there is none */
    pid_t pid;
} Standby;

/* The name of a standby in lists of processes; another one, so that killing the first process by name leaves
 * the standby. */
#define STANDBY_NAME "fsguard-standby"
#define STANDBY_NONE ((Standby){.fd = -1})

/* Replaces the standby by a new one. Return: false in the caller's process; true in the new standby, when the
 * caller has died without a goodbye; it has no standby yet then. */
bool standby_make(Standby *standby);
/* Sends the goodbye, after which the standby ends. Also for a standby that has died, or none. */
void standby_dismiss(Standby *standby);
