// Code between DLRM_TARGET_BEGIN and DLRM_TARGET_END is compiled for a processor that need not be this one.
#pragma once

#if defined(__clang__)
#define DLRM_PRAGMA(text) _Pragma(#text)
#define DLRM_TARGET_BEGIN(features) \
    DLRM_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define DLRM_TARGET_END _Pragma("clang attribute pop")
#else
#define DLRM_PRAGMA(text) _Pragma(#text)
#define DLRM_TARGET_BEGIN(features) _Pragma("GCC push_options") DLRM_PRAGMA(GCC target(features))
#define DLRM_TARGET_END _Pragma("GCC pop_options")
#endif

// DLRM_UNROLL unrolls loops over arrays of vectors, which the compiler keeps in memory as long as a loop indexes them.
#if defined(__clang__)
#define DLRM_UNROLL _Pragma("clang loop unroll(full)")
#define DLRM_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define DLRM_UNROLL _Pragma("GCC unroll 16")
#define DLRM_NO_UNROLL _Pragma("GCC unroll 1")
#endif
