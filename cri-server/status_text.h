/* A gRPC status as text: its name in a log, and its message on the wire
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Status-Message").
 */
#pragma once

#include "common/error.h"

/* "NotFound"; static. */
const char *status_name(StatusCode status);

/* A copy of the message that any client takes: valid UTF-8, and short enough once it is percent-encoded in a
 * header (clients refuse more than 8 KiB of headers). Of a longer one the beginning and the end are kept: the
 * end of a console's output says most. The caller frees it. */
char *status_text(const char *message);
