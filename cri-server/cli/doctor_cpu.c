/* SPDX-License-Identifier: Apache-2.0 */
/* The processors that handlers want for their guests. */

#include "cri-server/cli/doctor_check.h"
#include "sandbox/host/accelerator.h"
#include "sandbox/host/cpu_node.h"

static void check_handler(GPtrArray *findings, const Settings *settings, const Handler *handler)
{
    g_auto(AcceleratorFacts) facts =
        accelerator_look(settings->hypervisor.qemu_user, settings->hypervisor.qemu_group);
    const gboolean is_default = handler == settings->handlers->pdata[0];
    const CpuBaseline *baseline;
    g_autofree char *reason = NULL;
    g_autoptr(GError) error = NULL;
    gboolean is_kvm;

    if (!accelerator_choose(handler->accelerator, &facts, &is_kvm, &reason, NULL))
        return; /* reported under KVM */
    if (cpu_node_baseline(handler->cpu, is_kvm, &baseline, &error))
        doctor_add_good(findings, "processor of guests",
                        g_strdup_printf("handler %s: %s", handler->name, baseline->text));
    else
        doctor_add(findings, is_default ? DOCTOR_BAD : DOCTOR_WARNING, "processor of guests",
                   g_strdup_printf("handler %s: %s", handler->name, error->message),
                   g_strdup_printf("set guest.cpu or handlers.%s.cpu to a lower level or to \"" CPU_HOST
                                   "\" (docs/cpu.md)",
                                   handler->name));
}

void doctor_check_cpu(GPtrArray *findings, const Settings *settings)
{
    for (guint i = 0; i < settings->handlers->len; i++) {
        const Handler *handler = settings->handlers->pdata[i];

        if (!handler_is_host(handler) && !g_str_equal(handler->cpu, CPU_HOST))
            check_handler(findings, settings, handler);
    }
}
