/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of agent.proto, by the names that they have there. */
#pragma once

#include "agent.pb-c.h"

#define MESSAGE(name) typedef Crivirt__Agent__V1__##name name
MESSAGE(ToGuest);
MESSAGE(FromGuest);
MESSAGE(Request);
MESSAGE(Response);
MESSAGE(Failure);
MESSAGE(ProcessId);
MESSAGE(Output);
MESSAGE(Ack);
MESSAGE(Part);
MESSAGE(Input);
MESSAGE(InputAck);
MESSAGE(Exited);
MESSAGE(Notice);
MESSAGE(ContainerReport);
MESSAGE(Interface);
MESSAGE(Route);
MESSAGE(Sysctl);
MESSAGE(Disk);
MESSAGE(DeviceNumber);
MESSAGE(User);
MESSAGE(IdMapping);
MESSAGE(ImageVolume);
MESSAGE(MemoryVolume);
MESSAGE(MemoryRange);
MESSAGE(CgroupUsage);
MESSAGE(ContainerUsage);
MESSAGE(DiskUsage);
MESSAGE(InterfaceUsage);
MESSAGE(Pressure);
MESSAGE(PressureLine);
MESSAGE(ProcessesUsage);
#define AGENT_OP(name, Name, number)                                                                         \
    MESSAGE(Name##Request);                                                                                  \
    MESSAGE(Name##Response);
#include "agent/wire/ops.def"
#undef AGENT_OP
#undef MESSAGE
