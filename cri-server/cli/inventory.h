/* SPDX-License-Identifier: Apache-2.0 */
/* Lists the daemon's pods and containers, and finds them by the name that a user types.
 *
 * A pod made by `crivirt run` has a label, and its container has the pod's name, as in Docker. Any other
 * container is "POD/CONTAINER", or just "CONTAINER" where that is unique. All memory is the Cli's arena.
 */
#pragma once

#include "api.pb-c.h"
#include "cri-server/cli/cli.h"

#define RUN_LABEL "io.crivirt.cli"
#define RUN_LABEL_VALUE "run"
#define RUN_NAMESPACE "crivirt"
/* An annotation of a pod: its log directory, which `rm` deletes with it. */
#define LOG_ANNOTATION "io.crivirt.cli/log-directory"
/* An annotation of a pod that a process of `crivirt run` ends with its container: without -d, and with --rm.
 */
#define WATCHED_ANNOTATION "io.crivirt.cli/ends-with-container"

typedef struct {
    const Runtime__V1__Container *container;
    const Runtime__V1__PodSandbox *pod; /* NULL when the pod was removed in between */
    const char *name;                   /* the name that is shown */
} InventoryContainer;

typedef struct {
    InventoryContainer *containers; /* newest first */
    gsize n_containers;
    Runtime__V1__PodSandbox **pods; /* newest first */
    gsize n_pods;
} Inventory;

const Inventory *inventory_load(Cli *cli, GError **error);
/* Return: the set of the ids of the pods that are hibernated; empty for another daemon than crivirtd. NULL
 * with the error. */
GHashTable *inventory_hibernated(Cli *cli, GError **error);

/* Return: the set of the ids of the images that containers have as their own or have mounted, which the
 * caller unrefs; NULL with the error. */
GHashTable *inventory_used_images(Cli *cli, const Inventory *inventory, GError **error);

/* Errors: NOT_FOUND, INVALID_ARGUMENT when the name is ambiguous. */
const InventoryContainer *inventory_container(Cli *cli, const Inventory *inventory, const char *text,
                                              GError **error);
const Runtime__V1__PodSandbox *inventory_pod(Cli *cli, const Inventory *inventory, const char *text,
                                             GError **error);

/* Return: whether `crivirt run` made the pod; FALSE for NULL. */
gboolean inventory_pod_is_ours(const Runtime__V1__PodSandbox *pod);
/* Return: whether it has WATCHED_ANNOTATION. */
gboolean inventory_pod_is_watched(const Runtime__V1__PodSandbox *pod);
