/* SPDX-License-Identifier: Apache-2.0 */
/* Writes any protobuf-c message as JSON, by the proto3 mapping (https://protobuf.dev/programming-
 * guides/json/): lowerCamelCase names, 64-bit integers as strings, bytes in base64, enumerations by name,
 * maps as objects.
 *
 * It differs from the mapping on purpose in three points. Fields with their default value are written
 * (absent messages are not), so that scripts find them. The CRI's times (…_at) are written as RFC 3339, or
 * "" when they are 0, as crictl does. JSON documents in `info` maps are embedded instead of being strings.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/json_writer.h"

void proto_json_message(JsonWriter *json, const char *key, const ProtobufCMessage *message);

/* Return: "containerId" for "container_id"; the caller frees it. */
char *proto_json_name(const char *field_name);
