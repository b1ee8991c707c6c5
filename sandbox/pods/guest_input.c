/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/guest_input.h"

#include "agent/wire/wire.h"
#include "common/byte_ring.h"
#include "common/lock_assert.h"
#include "sandbox/pods/pod.h"

enum { CHUNK_BYTES = 31 << 10, RETRY_MS = 20 };

struct GuestInput {
    gint references;
    Pod *pod;
    char *container_id;
    char *exec_id;

    GMutex lock;
    ByteRing unacked;
    guint64 acked; /* offset of the first byte of unacked */
    gsize sent;    /* of unacked */
    gboolean ends, end_sent;
    gboolean hung_up;
    gboolean retrying;
};

GuestInput *guest_input_new(Pod *pod, const char *container_id, const char *exec_id)
{
    GuestInput *input = g_new0(GuestInput, 1);

    input->references = 1;
    input->pod = pod_ref(pod);
    input->container_id = g_strdup(container_id);
    input->exec_id = g_strdup(exec_id);
    byte_ring_init(&input->unacked, WIRE_INPUT_WINDOW_BYTES);
    g_mutex_init(&input->lock);
    return input;
}

GuestInput *guest_input_ref(GuestInput *input)
{
    g_atomic_int_inc(&input->references);
    return input;
}

void guest_input_unref(GuestInput *input)
{
    if (input == NULL || !g_atomic_int_dec_and_test(&input->references))
        return;
    byte_ring_clear(&input->unacked);
    g_mutex_clear(&input->lock);
    g_free(input->exec_id);
    g_free(input->container_id);
    pod_unref(input->pod);
    g_free(input);
}

/* bytes: what follows what was sent. */
static gboolean send_chunk(GuestInput *input, AgentConnection *agent, const guint8 *bytes, gsize length,
                           gboolean eof)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__Input message = CRIVIRT__AGENT__V1__INPUT__INIT;

    process.container_id = input->container_id;
    process.exec_id = input->exec_id;
    message.process = &process;
    message.offset = input->acked + input->sent;
    message.data.data = (guint8 *)bytes;
    message.data.len = length;
    message.eof = eof;
    message.hangup = input->hung_up;
    return agent_connection_send_input(agent, &message);
}

/* Called with the lock held. Return: FALSE when the channel takes no more now. */
static gboolean pump_locked(GuestInput *input)
{
    g_autoptr(AgentConnection) agent = NULL;

    LOCK_ASSERT_HELD(&input->lock);
    if (input->sent == input->unacked.length && (!input->ends || input->end_sent))
        return TRUE;
    agent = pod_agent(input->pod, NULL);
    if (agent == NULL)
        return TRUE; /* the guest is gone */
    while (input->sent < input->unacked.length || (input->ends && !input->end_sent)) {
        const guint8 *bytes = NULL;
        gsize length = MIN(byte_ring_peek(&input->unacked, input->sent, &bytes), (gsize)CHUNK_BYTES);
        gboolean last = input->ends && input->sent + length == input->unacked.length;

        if (!send_chunk(input, agent, bytes, length, last))
            return FALSE;
        input->sent += length;
        input->end_sent = last;
    }
    return TRUE;
}

static void input_retry(gpointer data);

/* Called with the lock held. */
static void pump_or_retry_locked(GuestInput *input)
{
    LOCK_ASSERT_HELD(&input->lock);
    if (pump_locked(input) || input->retrying)
        return;
    input->retrying = TRUE;
    loop_thread_after(input->pod->manager->loop, RETRY_MS, input_retry, guest_input_ref(input));
}

static void input_retry(gpointer data)
{
    GuestInput *input = data;

    g_mutex_lock(&input->lock);
    input->retrying = FALSE;
    pump_or_retry_locked(input);
    g_mutex_unlock(&input->lock);
    guest_input_unref(input);
}

gsize guest_input_write(GuestInput *input, const void *data, gsize length)
{
    g_mutex_lock(&input->lock);
    if (!input->ends) {
        length = MIN(length, byte_ring_room(&input->unacked));
        byte_ring_push(&input->unacked, data, length);
        pump_or_retry_locked(input);
    }
    g_mutex_unlock(&input->lock);
    return length;
}

void guest_input_end(GuestInput *input)
{
    g_mutex_lock(&input->lock);
    input->ends = TRUE;
    pump_or_retry_locked(input);
    g_mutex_unlock(&input->lock);
}

void guest_input_hang_up(GuestInput *input)
{
    g_mutex_lock(&input->lock);
    input->ends = TRUE;
    input->end_sent = FALSE;
    input->hung_up = TRUE;
    input->sent = 0;
    byte_ring_clear(&input->unacked);
    pump_or_retry_locked(input);
    g_mutex_unlock(&input->lock);
}

void guest_input_acked(GuestInput *input, guint64 offset)
{
    g_mutex_lock(&input->lock);
    /* An acknowledgement of bytes that were never sent is ignored. */
    if (offset > input->acked && offset - input->acked <= input->sent) {
        gsize n = (gsize)(offset - input->acked);

        byte_ring_skip(&input->unacked, n);
        input->sent -= n;
        input->acked = offset;
        pump_or_retry_locked(input);
    }
    g_mutex_unlock(&input->lock);
}

void guest_input_resume(GuestInput *input, guint64 received)
{
    g_mutex_lock(&input->lock);
    input->sent = 0;
    input->end_sent = FALSE;
    /* The previous daemon sent these bytes. */
    if (received != G_MAXUINT64 && input->acked == 0 && input->unacked.length == 0)
        input->acked = received;
    pump_or_retry_locked(input);
    g_mutex_unlock(&input->lock);
}
