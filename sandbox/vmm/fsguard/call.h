/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the guest to its file server (FUSE), with the guest's numbers of nodes and handles replaced by
 * the server's, and those in the answer by the guest's (table.h).
 *
 * The bytes come from the guest, which may be hostile. A call of a kind that is not known here is refused
 * with ENOSYS, and does not reach the server. There is one thread. (Linux, include/uapi/linux/fuse.h;
 * protocol 7.38)
 */
#pragma once

#include <linux/fuse.h>

#include "sandbox/vmm/fsguard/table.h"

typedef struct {
    uint64_t unique;
    uint32_t opcode;
    uint32_t node, other_node; /* the guest's numbers */
    uint32_t handle;
    uint32_t n_args;
} Call;

/* Translates a call in place. args are the first bytes behind the header; n_args of them are there.
 * Return: 0; or the errno that the guest gets instead of the server's answer. ECANCELED: the call has
 * succeeded here, and is not for the server. */
int call_translate(Table *table, struct fuse_in_header *header, uint8_t *args, size_t n_args, Call *ret_call);

/* What to do with a call that a dead server may have executed. */
typedef enum {
    CALL_REPEAT, /* executing it twice is like executing it once */
    CALL_REFUSE, /* EIO: nobody knows whether it was executed */
    CALL_APPEND, /* a write at the end of a file, which the size of the file tells */
} CallAgain;
CallAgain call_again(Table *table, const struct fuse_in_header *header, const uint8_t *args, size_t n_args);

/* Whether the answer has to be translated. */
bool call_has_answer(Table *table, const Call *call);

/* Where the answer is in the guest's memory, in parts. */
typedef struct {
    uint8_t *at;
    uint32_t length;
} AnswerPart;
typedef struct {
    const AnswerPart *parts;
    size_t n_parts;
    uint32_t length; /* that the server has written */
} Answer;

bool answer_read(const Answer *answer, uint32_t offset, void *ret_bytes, uint32_t length);
bool answer_write(const Answer *answer, uint32_t offset, const void *bytes, uint32_t length);
/* Records what the server has answered, and translates the answer in place. args are those of the call, whose
 * names were not changed. */
void call_answer(Table *table, const Call *call, const uint8_t *args, Answer *answer);
