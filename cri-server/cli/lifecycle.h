/* SPDX-License-Identifier: Apache-2.0 */
/* Stops and removes containers and pods, for several commands. */
#pragma once

#include "api.pb-c.h"
#include "cri-server/cli/inventory.h"

/* Docker's exit codes when the program did not run. */
enum { EXIT_DAEMON = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };
/* Only the OCI runtime's message tells why a program could not be started. Return: the exit code for that
 * message. */
int program_failure_exit_code(const char *message);

const Runtime__V1__ContainerStatus *container_status(Cli *cli, const char *id, GError **error);
/* timeout_s is the time between the stop signal and KILL; 0 kills at once. */
gboolean container_stop(Cli *cli, const char *id, gint64 timeout_s, GError **error);
gboolean container_remove(Cli *cli, const char *id, GError **error);

gboolean pod_stop(Cli *cli, const char *id, GError **error);
/* Stops and removes the pod with its containers, and deletes log_directory (NULL: none). */
gboolean pod_remove(Cli *cli, const char *id, const char *log_directory, GError **error);

/* Return: the log directory of a pod made by `crivirt run`; NULL otherwise. A directory whose name is not the
 * one that `run` chooses is not returned, so that an annotation that someone else wrote cannot delete files.
 */
const char *pod_log_directory(const Runtime__V1__PodSandbox *pod);
/* ROOT/NAMESPACE_NAME_UID; the caller frees. */
char *pod_log_directory_name(const char *root, const char *namespace, const char *name, const char *uid);

typedef gboolean (*ContainerFunc)(Cli *cli, const InventoryContainer *row, GError **error);
/* Calls func for each container that the operands name, and prints the name. Goes on after a failure, as
 * Docker does. Each container is looked up again, so a name that is given twice fails. */
gboolean containers_for_each(Cli *cli, ContainerFunc func, GError **error);
