/* SPDX-License-Identifier: Apache-2.0 */
/* Compares two CRI messages of one type. */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* Finds the first field in which the two differ; either may be NULL, which equals an empty message. ignored
 * ends with NULL: paths of fields that are left out, without the indexes of lists
 * ("config.mounts.host_path"). name begins all paths.
 *
 * Return: the path of the field with indexes ("config.envs[2].value"), which the caller frees; NULL: they are
 * the same. */
char *cri_difference(const ProtobufCMessage *a, const ProtobufCMessage *b, const char *name,
                     const char *const *ignored);
