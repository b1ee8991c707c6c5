/* What this node lacks for pods to run, each with its remedy. Needs no daemon; looks, and changes nothing. */
#pragma once

#include "cri-server/config/config.h"

typedef enum {
    DOCTOR_GOOD,
    DOCTOR_WARNING, /* pods run, but worse or not all */
    DOCTOR_BAD,     /* no pod could run */
} DoctorVerdict;

typedef struct {
    DoctorVerdict verdict;
    const char *subject; /* static */
    char *finding;
    char *remedy; /* NULL when it is good */
} DoctorFinding;

/* All checks in their order; the array frees its DoctorFindings. */
GPtrArray *doctor_examine(const Config *config);

/* Parts, for the tests. The plugins' types of a CNI configuration (text); NULL when it is none. */
char **doctor_cni_types(const char *json);
/* Whether a kernel's list of modules ("kernel/net/sched/act_mirred.ko: …", a line each) has that one. */
gboolean doctor_list_has_module(const char *list, const char *module);
