/* export.h - attributes shared by the public headers. */
#ifndef MM1_EXPORT_H
#define MM1_EXPORT_H

#ifdef __cplusplus
#define MM1_BEGIN_DECLS extern "C" {
#define MM1_END_DECLS   }
#else
#define MM1_BEGIN_DECLS
#define MM1_END_DECLS
#endif

#if defined(__GNUC__)
#define MM1_API                __attribute__((visibility("default")))
#define MM1_NODISCARD          __attribute__((warn_unused_result))
#define MM1_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define MM1_API
#define MM1_NODISCARD
#define MM1_PRINTF(fmt, first)
#endif

#endif
