/* The pods and containers that the daemon lists, found by what the user calls them.
 *
 * A pod made by `crivirt run` is labelled, and its container goes by the pod's name, as in Docker; any other
 * container is "POD/CONTAINER", or just "CONTAINER" where that is enough. All memory is the Cli's arena.
 */
#pragma once

#include "api.pb-c.h"
#include "cri-server/cli/cli.h"

#define RUN_LABEL "io.crivirt.cli"
#define RUN_LABEL_VALUE "run"
#define RUN_NAMESPACE "crivirt"
/* On a pod: where its logs are, so that `rm` can take them along. */
#define LOG_ANNOTATION "io.crivirt.cli/log-directory"

typedef struct {
    const Runtime__V1__Container *container;
    const Runtime__V1__PodSandbox *pod; /* NULL when it vanished in between */
    const char *name;                   /* as it is shown */
} InventoryContainer;

typedef struct {
    InventoryContainer *containers; /* newest first */
    gsize n_containers;
    Runtime__V1__PodSandbox **pods; /* newest first */
    gsize n_pods;
} Inventory;

const Inventory *inventory_load(Cli *cli, GError **error);

/* NULL with NOT_FOUND or INVALID_ARGUMENT (ambiguous). */
const InventoryContainer *inventory_container(Cli *cli, const Inventory *inventory, const char *text,
                                              GError **error);
const Runtime__V1__PodSandbox *inventory_pod(Cli *cli, const Inventory *inventory, const char *text,
                                             GError **error);

/* Made by `crivirt run`; FALSE for NULL. */
gboolean inventory_pod_is_ours(const Runtime__V1__PodSandbox *pod);
