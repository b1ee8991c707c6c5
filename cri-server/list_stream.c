#include "cri-server/list_stream.h"

size_t list_stream_chunk(ProtobufCMessage *const *items, size_t n_items)
{
    size_t bytes = 0;
    size_t n = 0;

    while (n < n_items && (n == 0 || bytes < LIST_STREAM_BYTES))
        bytes += protobuf_c_message_get_packed_size(items[n++]);
    return n;
}
