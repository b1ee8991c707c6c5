/* SPDX-License-Identifier: Apache-2.0 */
/* Finds what this node lacks for running pods, with a remedy for each finding. It needs no running crivirtd,
 * and changes nothing on the node. */
#pragma once

#include "cri-server/config/config.h"

typedef enum {
    DOCTOR_GOOD,
    DOCTOR_WARNING, /* pods run, but slower or not all of them */
    DOCTOR_BAD,     /* no pod can run */
} DoctorVerdict;

typedef struct {
    DoctorVerdict verdict;
    const char *subject; /* static */
    char *finding;
    char *remedy; /* NULL for DOCTOR_GOOD */
} DoctorFinding;

/* Return: the findings of all checks, in their order; the array frees its DoctorFindings. */
GPtrArray *doctor_examine(const Settings *settings);

/* The rest is for the unit test. */

/* Return: the types of the plugins that a CNI configuration names, or NULL when the text is none; the caller
 * frees them. */
char **doctor_cni_types(const char *json);
/* Return: whether the text, a kernel's list of modules with one "kernel/net/sched/act_mirred.ko: …" per line,
 * has that module. */
gboolean doctor_list_has_module(const char *list, const char *module);
