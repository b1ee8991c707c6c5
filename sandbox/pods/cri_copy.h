/* Packing and copying CRI messages, and matching labels. Internal to this folder.
 *
 * Configurations live as long as their objects, and an answer is packed later: what it borrows is copied. A
 * message is copied by way of the wire format, which costs little more than the copy itself (tests/bench).
 */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"

GBytes *cri_pack(const ProtobufCMessage *message);
/* Of the same type, for protobuf_c_message_free_unpacked(). */
void *cri_dup(const ProtobufCMessage *message);

void *cri_copy(Arena *arena, const ProtobufCMessage *message);
#define COPY(arena, message) ((message) != NULL ? cri_copy(arena, &(message)->base) : NULL)

/* Label maps of all CRI messages have entries of the same shape but of different types: what is packed
 * follows the entry's own. For messages that live no longer than the object that the map is of
 * (arena_hold()). */
#define BORROW_MAP(to, from, field)                                                                          \
    do {                                                                                                     \
        (to)->n_##field = (from)->n_##field;                                                                 \
        (to)->field = (void *)(from)->field;                                                                 \
    } while (0)

/* A map of its own. */
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

/* Both maps have the shape {key, value}; every label asked for must be there. */
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
