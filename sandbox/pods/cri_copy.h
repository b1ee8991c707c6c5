/* SPDX-License-Identifier: Apache-2.0 */
/* Packing and copying CRI messages, and matching labels.
 *
 * Configurations live as long as their objects, and a response is packed later, so what it refers to is
 * copied. A message is copied through the wire format, which costs little more than a copy (tests/bench).
 */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"

GBytes *cri_pack(const ProtobufCMessage *message);
/* Return: a copy of the same type, for protobuf_c_message_free_unpacked(). */
void *cri_dup(const ProtobufCMessage *message);

void *cri_copy(Arena *arena, const ProtobufCMessage *message);
#define COPY(arena, message) ((message) != NULL ? cri_copy(arena, &(message)->base) : NULL)

/* Return: a label map of another message type. The entries of all label maps have the same layout but
 * different types; packing follows the type of each entry. For messages that live no longer than the owner
 * of the map (arena_hold()). */
#define BORROW_MAP(to, from, field)                                                                          \
    do {                                                                                                     \
        (to)->n_##field = (from)->n_##field;                                                                 \
        (to)->field = (void *)(from)->field;                                                                 \
    } while (0)

/* Return: a copy of the map. */
#define COPY_MAP(arena, to, from, field, Type)                                                               \
    do {                                                                                                     \
        (to)->n_##field = (from)->n_##field;                                                                 \
        (to)->field = arena_new0(arena, Type *, (from)->n_##field);                                          \
        for (size_t map_i = 0; map_i < (from)->n_##field; map_i++) {                                         \
            (to)->field[map_i] = arena_new0(arena, Type, 1);                                                 \
            protobuf_c_message_init(&Type##_DESCRIPTOR, &(to)->field[map_i]->base);                          \
            (to)->field[map_i]->key = arena_strdup(arena, (from)->field[map_i]->key);                        \
            (to)->field[map_i]->value = arena_strdup(arena, (from)->field[map_i]->value);                    \
        }                                                                                                    \
    } while (0)

/* Return: whether labels contains every entry of the filter. Both maps have the layout {key, value}. */
#define LABELS_MATCH(filter, config)                                                                         \
    __extension__({                                                                                          \
        gboolean labels_match = TRUE;                                                                        \
        for (size_t want = 0; labels_match && want < (filter)->n_label_selector; want++) {                   \
            labels_match = FALSE;                                                                            \
            for (size_t have = 0; !labels_match && have < (config)->n_labels; have++)                        \
                labels_match =                                                                               \
                    g_str_equal((config)->labels[have]->key, (filter)->label_selector[want]->key) &&         \
                    g_str_equal((config)->labels[have]->value, (filter)->label_selector[want]->value);       \
        }                                                                                                    \
        labels_match;                                                                                        \
    })
