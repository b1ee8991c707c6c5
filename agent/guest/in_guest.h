/* SPDX-License-Identifier: Apache-2.0 */
/* Exec in the guest itself: a program of a container's image that runs outside of the container, as the
 * guest's root. The guest's image has no shell, so that an administrator uses the one of a container.
 *
 * The agent runs its own program with IN_GUEST_OPTION, which enters a mount namespace of its own, so that
 * nothing of what it mounts is seen elsewhere, puts the guest's /dev, /proc and /sys over those of the
 * container's rootfs, makes that rootfs its root directory, and executes the command.
 */
#pragma once

#include "agent/guest/container.h"

/* The first word of the command line; then follow "tty" or "pipe", the rootfs, and the command. */
#define IN_GUEST_OPTION "--in-guest"

/* Starts the command. Return: false with a fault; a command that cannot be run ends with exit code 126 or 127
 * and a message on its standard error. */
bool in_guest_start(Process *process, const ExecRequest *request, Fault *ret_fault);

/* Return: the mark (process_tree.h) of all such commands of a container, which finds what they have started
 * also after their end. */
uint64_t in_guest_mark(Container *container);
/* Kills all of that. */
void in_guest_kill(const Container *container);

/* The program behind IN_GUEST_OPTION; words are those after the option. Return: an exit code, when the
 * command did not start. */
int in_guest_main(char **words);
