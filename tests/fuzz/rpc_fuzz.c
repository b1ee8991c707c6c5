/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the request of each RPC: decoded and checked, or refused. The first byte chooses the type. */
#include "api.pb-c.h"
#include "cri-server/rpc/rpc_method.h"
#include "crivirt.pb-c.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static const ProtobufCMessageDescriptor *request_type(guint8 choice)
{
    static const ProtobufCServiceDescriptor *const services[] = {
        &runtime__v1__runtime_service__descriptor,
        &runtime__v1__image_service__descriptor,
        &crivirt__v1__crivirt__descriptor,
    };
    guint n = choice;

    for (;;)
        for (gsize i = 0; i < G_N_ELEMENTS(services); i++) {
            if (n < services[i]->n_methods)
                return services[i]->methods[n].input;
            n -= services[i]->n_methods;
        }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(Arena) arena = NULL;
    g_autoptr(GError) error = NULL;
    const ProtobufCMessage *message;

    if (size == 0)
        return 0;
    arena = arena_new();
    message = rpc_decode(request_type(data[0]), data + 1, size - 1, arena, &error);
    g_assert((message == NULL) == (error != NULL));
    return 0;
}
