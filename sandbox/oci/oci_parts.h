/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of an OCI configuration, each in its file; internal to oci_*.c. Every put_ function writes
 * members of the JSON object that is open. Errors name the field of the CRI. */
#pragma once

#include "common/json_writer.h"
#include "sandbox/oci/oci_spec.h"

/* Return: never NULL; an empty message where there is none. */
const Runtime__V1__LinuxContainerSecurityContext *oci_security(const OciSpecInput *input);
const Runtime__V1__LinuxContainerResources *oci_resources(const OciSpecInput *input);

/* oci_capabilities.c: names without CAP_, interned, so that pointers can be compared. */
gboolean oci_capabilities_collect(const OciSpecInput *input, GPtrArray *set, GPtrArray *ambient,
                                  GError **error);
gboolean oci_put_capabilities(JsonWriter *json, const OciSpecInput *input, GError **error);

/* oci_process.c: "process". The user comes last, as a 0 at *ret_user_offset. */
gboolean oci_put_process(JsonWriter *json, const OciSpecInput *input, gsize *ret_user_offset, GError **error);

/* oci_mounts.c: "mounts". */
gboolean oci_put_mounts(JsonWriter *json, const OciSpecInput *input, GError **error);
/* Return: linux.rootfsPropagation, which the container's volumes need; NULL: the default. */
const char *oci_root_propagation(const OciSpecInput *input);

/* oci_linux.c: "linux", which contains the parts below. */
gboolean oci_put_linux(JsonWriter *json, const OciSpecInput *input, GError **error);
/* oci_resources.c: "resources". */
gboolean oci_put_resources(JsonWriter *json, const OciSpecInput *input, GError **error);
/* oci_devices.c: "devices"; and in resources.devices the rules that allow them. */
gboolean oci_put_devices(JsonWriter *json, const OciSpecInput *input, GError **error);
void oci_put_device_rules(JsonWriter *json, const OciSpecInput *input);
/* oci_namespaces.c: "namespaces", "uidMappings", "gidMappings". */
gboolean oci_put_namespaces(JsonWriter *json, const OciSpecInput *input, GError **error);
