/* SPDX-License-Identifier: Apache-2.0 */
/* A gRPC status as text: its name in a log, and its message on the wire
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Status-Message").
 */
#pragma once

#include "common/error.h"

/* Makes a message fit for a gRPC header: valid UTF-8, and at most 6000 bytes when it is percent-encoded,
 * because clients refuse more than 8 KiB of headers. A longer message keeps its beginning and its end: the
 * last lines of a guest's console are the most useful ones. Return: a copy, which the caller frees. */
char *status_text(const char *message);
