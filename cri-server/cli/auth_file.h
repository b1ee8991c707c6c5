/* SPDX-License-Identifier: Apache-2.0 */
/* The user's credentials for registries, as `crivirt login` writes them: containers' auth.json, which podman
 * and skopeo read as well. It is the file of --authfile, of $REGISTRY_AUTH_FILE, or
 * ~/.config/containers/auth.json.
 *
 * Passwords are not encrypted; the file has mode 0600. Errors name the file. Threads: any.
 */
#pragma once

#include <glib.h>

/* Return: the path, which the caller frees. given: of the option; NULL: none. */
char *auth_file_path(const char *given);
/* Finds user and password for an image; both stay NULL when there are none. The caller frees them. */
gboolean auth_file_find(const char *path, const char *image, char **ret_username, char **ret_password,
                        GError **error);
/* Sets the credentials for a registry, and keeps all else that the file has. */
gboolean auth_file_set(const char *path, const char *registry, const char *username, const char *password,
                       GError **error);
/* *ret_removed: whether there were any. */
gboolean auth_file_remove(const char *path, const char *registry, gboolean *ret_removed, GError **error);
