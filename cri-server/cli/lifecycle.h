/* Stopping and removing containers and pods, as several commands do it. */
#pragma once

#include "api.pb-c.h"
#include "cri-server/cli/cli.h"

/* Docker's exit codes for what did not come to run. */
enum { EXIT_DAEMON = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };
/* Why a program could not be started is told only by the message, in the OCI runtime's words. */
int program_failure_exit_code(const char *message);

const Runtime__V1__ContainerStatus *container_status(Cli *cli, const char *id, GError **error);
/* timeout_s is the grace before KILL; 0 kills at once. */
gboolean container_stop(Cli *cli, const char *id, gint64 timeout_s, GError **error);
gboolean container_remove(Cli *cli, const char *id, GError **error);

gboolean pod_stop(Cli *cli, const char *id, GError **error);
/* Stops and removes the pod with its containers; log_directory (NULL: none) goes with it. */
gboolean pod_remove(Cli *cli, const char *id, const char *log_directory, GError **error);

/* The log directory of a pod made by `crivirt run`, if its name is the one that `run` gives: what somebody
 * else wrote into the annotation is not deleted. NULL otherwise. */
const char *pod_log_directory(const Runtime__V1__PodSandbox *pod);
/* ROOT/NAMESPACE_NAME_UID; the caller frees. */
char *pod_log_directory_name(const char *root, const char *namespace, const char *name, const char *uid);
