/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of pods and containers, by id, and of pods by name.
 *
 * Threads: any, unless a function says that manager->lock is held.
 */
#pragma once

#include "sandbox/pods/container.h"

void manager_tables_init(SandboxManager *manager);
/* Containers and pods reference each other, so all must be removed before. */
void manager_tables_clear(SandboxManager *manager);

/* Return: found by id or unique prefix, referenced; NULL with NOT_FOUND, or INVALID_ARGUMENT for an
 * ambiguous prefix. */
Pod *manager_find_pod(SandboxManager *manager, const char *id, GError **error);
Container *manager_find_container(SandboxManager *manager, const char *id, GError **error);
/* The same for verbs that succeed when there is nothing to do. Return: TRUE with *ret NULL for an unknown
 * id. */
gboolean manager_find_pod_if_any(SandboxManager *manager, const char *id, Pod **ret_pod, GError **error);
gboolean manager_find_container_if_any(SandboxManager *manager, const char *id, Container **ret_container,
                                       GError **error);
void manager_add_pod(SandboxManager *manager, Pod *pod);
/* Called with manager->lock held. */
void manager_add_pod_locked(SandboxManager *manager, Pod *pod);
/* Called with manager->lock held. Return: the pod with the same name, namespace, uid and attempt, borrowed;
 * NULL: none. */
Pod *manager_namesake_locked(SandboxManager *manager, const Runtime__V1__PodSandboxMetadata *metadata);
void manager_remove_pod(SandboxManager *manager, Pod *pod);
/* Adds it to the tables of the manager and of the pod. FAILED_PRECONDITION unless the pod is READY. */
gboolean manager_add_container(SandboxManager *manager, Container *container, GError **error);
void manager_remove_container(SandboxManager *manager, Container *container);
/* Return: all pods, referenced; the array releases them. */
GPtrArray *manager_pods(SandboxManager *manager);
/* Return: objects whose ids begin with the prefix ("": all), referenced; the others are not looked at.
 * pod_id: a prefix of their pods' ids. */
GPtrArray *manager_pods_by_id(SandboxManager *manager, const char *id);
GPtrArray *manager_containers_by_id(SandboxManager *manager, const char *id, const char *pod_id);
