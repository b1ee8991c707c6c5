/* The command lines that every use of crun has in common. */
#pragma once

#define CRUN_PATH "/usr/bin/crun"
#define CRUN_CGROUPS "--cgroup-manager=cgroupfs"
