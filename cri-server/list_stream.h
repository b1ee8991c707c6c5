/* A list sent as a stream of messages, none of which is much larger than LIST_STREAM_BYTES: what the CRI's
 * Stream methods are for. An empty list sends nothing. */
#pragma once

#include "cri-server/rpc_server.h"

enum { LIST_STREAM_BYTES = 256 * 1024 };

/* How many of the items, from the first on, go into the next message: at least one of those that are left. */
size_t list_stream_chunk(ProtobufCMessage *const *items, size_t n_items);

/* items is an array of message pointers; field is the repeated field of chunk that takes some of them. */
#define LIST_STREAM(stream, items, n_items, chunk, field, error)                                             \
    __extension__({                                                                                          \
        gboolean list_sent = TRUE;                                                                           \
        size_t list_at = 0;                                                                                  \
        while (list_sent && list_at < (n_items)) {                                                           \
            (chunk).field = (items) + list_at;                                                               \
            (chunk).n_##field =                                                                              \
                list_stream_chunk((ProtobufCMessage *const *)(void *)(chunk).field, (n_items)-list_at);      \
            list_at += (chunk).n_##field;                                                                    \
            list_sent = rpc_stream_send(stream, &(chunk).base, error);                                       \
        }                                                                                                    \
        list_sent;                                                                                           \
    })
