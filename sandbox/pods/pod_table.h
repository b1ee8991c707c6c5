/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of pods and containers, by id, and of pods by name.
 *
 * Threads: any, unless a function says that manager->lock is held.
 */
#pragma once

#include "sandbox/pods/container.h"

void manager_tables_init(SandboxManager *manager);
/* Containers and pods hold each other: those that are left must be removed before. */
void manager_tables_clear(SandboxManager *manager);

/* By id or unique prefix, referenced; NULL with NOT_FOUND, or INVALID_ARGUMENT for an ambiguous prefix. */
Pod *manager_find_pod(SandboxManager *manager, const char *id, GError **error);
Container *manager_find_container(SandboxManager *manager, const char *id, GError **error);
/* The same for verbs that succeed when there is nothing to do: an unknown id is TRUE with NULL. */
gboolean manager_find_pod_if_any(SandboxManager *manager, const char *id, Pod **ret_pod, GError **error);
gboolean manager_find_container_if_any(SandboxManager *manager, const char *id, Container **ret_container,
                                       GError **error);
void manager_add_pod(SandboxManager *manager, Pod *pod);
/* The same while manager->lock is held. */
void manager_add_pod_locked(SandboxManager *manager, Pod *pod);
/* The pod with the same name, namespace, uid and attempt; NULL: none. manager->lock is held; borrowed. */
Pod *manager_namesake_locked(SandboxManager *manager, const Runtime__V1__PodSandboxMetadata *metadata);
void manager_remove_pod(SandboxManager *manager, Pod *pod);
/* Both tables; FAILED_PRECONDITION unless the pod is READY. */
gboolean manager_add_container(SandboxManager *manager, Container *container, GError **error);
void manager_remove_container(SandboxManager *manager, Container *container);
/* All pods, referenced; the array frees them. */
GPtrArray *manager_pods(SandboxManager *manager);
/* Those whose ids begin so ("": all), without a look at the others; containers: and whose pods' ids begin so.
 */
GPtrArray *manager_pods_by_id(SandboxManager *manager, const char *id);
GPtrArray *manager_containers_by_id(SandboxManager *manager, const char *id, const char *pod_id);
