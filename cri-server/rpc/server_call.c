/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/server_call.h"

#include "common/log.h"

#include <grpc/byte_buffer.h>

static void on_call_answered(ServerCall *call, gboolean ok)
{
    (void)call;
    (void)ok; /* a client that has disconnected needs no answer */
}

ServerCall *server_call_new(RpcServer *server)
{
    ServerCall *call = g_new0(ServerCall, 1);

    g_atomic_ref_count_init(&call->references);
    call->server = server;
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    call->cancellable = g_cancellable_new();
    call->deadline = (Deadline){G_MAXINT64, call->cancellable};
    call->answered = (CallTag){call, on_call_answered};
    server_stream_init(&call->stream, call);
    return call;
}

ServerCall *server_call_ref(ServerCall *call)
{
    g_atomic_ref_count_inc(&call->references);
    return call;
}

void server_call_unref(ServerCall *call)
{
    RpcServer *server = call->server;
    gboolean last;

    /* Under the lock, so that cancel_calls() in rpc_server.c never finds a call that is being freed. */
    g_mutex_lock(&server->lock);
    last = g_atomic_ref_count_dec(&call->references);
    if (last)
        g_hash_table_remove(server->calls, call);
    g_mutex_unlock(&server->lock);
    if (!last)
        return;
    server_stream_clear(&call->stream);
    g_clear_pointer(&call->request, grpc_byte_buffer_destroy);
    g_clear_pointer(&call->grpc, grpc_call_unref);
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    g_object_unref(call->cancellable);
    g_free(call);
}

void server_call_start(ServerCall *call, const grpc_op *ops, gsize n_ops, CallTag *tag)
{
    grpc_call_error result;

    server_call_ref(call);
    result = grpc_call_start_batch(call->grpc, ops, n_ops, tag, NULL);
    if (result == GRPC_CALL_OK)
        return;
    log_error(LOG_NO_FIELDS, "gRPC refused an operation: %s", grpc_call_error_to_string(result));
    grpc_call_cancel(call->grpc, NULL);
    server_call_unref(call);
}

void server_call_answer(ServerCall *call, const CallAnswer *answer)
{
    grpc_slice details = grpc_slice_from_copied_string(answer->text != NULL ? answer->text : "");
    grpc_op ops[3] = {0};
    gsize n_ops = 0;

    if (answer->with_headers)
        ops[n_ops++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (answer->message != NULL) {
        ops[n_ops].op = GRPC_OP_SEND_MESSAGE;
        ops[n_ops++].data.send_message.send_message = answer->message;
    }
    ops[n_ops].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n_ops].data.send_status_from_server.status = (grpc_status_code)answer->status;
    ops[n_ops++].data.send_status_from_server.status_details = &details;
    server_call_start(call, ops, n_ops, &call->answered);
    grpc_slice_unref(details);
}

void server_call_cancel(ServerCall *call)
{
    g_cancellable_cancel(call->cancellable);
    server_stream_break(&call->stream);
}
