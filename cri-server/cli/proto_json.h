/* Any protobuf-c message as JSON, after the proto3 mapping (https://protobuf.dev/programming-guides/json/):
 * lowerCamelCase names, 64-bit integers as strings, bytes in base64, enumerations by name, maps as objects.
 *
 * Two differences, both on purpose: fields at their default are written (absent messages are not), so that
 * scripts find them; and the CRI's times (…_at) are written as RFC 3339, "" when they are 0, as crictl does.
 * `info` maps hold JSON documents as strings: they are embedded.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/json_writer.h"

void proto_json_message(JsonWriter *json, const char *key, const ProtobufCMessage *message);

/* "container_id" -> "containerId"; the caller frees. */
char *proto_json_name(const char *field_name);
