/* Scalars, enumerations and handles shared by every part of the interface.
 *
 * Enumerations list only the values in use, but always one that gives the C type the same width and
 * signedness as the complete one has. */
#ifndef FREESWITCH_ABI_TYPES_H
#define FREESWITCH_ABI_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

_Static_assert(sizeof(void *) == 8 && sizeof(long) == 8, "only LP64 systems are supported");

/* Bytes of the largest audio frame FreeSWITCH hands around, and of its own frame buffers. */
#define SWITCH_RECOMMENDED_BUFFER_SIZE 8192

typedef uint8_t switch_payload_t;
typedef uintptr_t switch_size_t;

/* Handles: pointers to these are passed about and never looked into. */
typedef struct fspr_pool_t switch_memory_pool_t;
typedef struct fspr_thread_mutex_t switch_mutex_t;
typedef struct fspr_thread_rwlock_t switch_thread_rwlock_t;
typedef struct switch_core_session switch_core_session_t;
typedef struct switch_channel switch_channel_t;
typedef struct switch_media_bug switch_media_bug_t;
typedef struct switch_event switch_event_t;
typedef struct payload_map_s payload_map_t;

typedef enum { SWITCH_FALSE = 0, SWITCH_TRUE = 1 } switch_bool_t;

typedef enum {
	SWITCH_STATUS_SUCCESS = 0,
	SWITCH_STATUS_FALSE = 1,
	SWITCH_STATUS_TIMEOUT = 2,
	SWITCH_STATUS_RESTART = 3,
	SWITCH_STATUS_INTR = 4,
	SWITCH_STATUS_NOTIMPL = 5,
	SWITCH_STATUS_MEMERR = 6,
	SWITCH_STATUS_NOOP = 7,
	SWITCH_STATUS_RESAMPLE = 8,
	SWITCH_STATUS_GENERR = 9,
	SWITCH_STATUS_INUSE = 10,
	SWITCH_STATUS_BREAK = 11,
	SWITCH_STATUS_NOTFOUND = 14,
	SWITCH_STATUS_UNLOAD = 15,
	SWITCH_STATUS_NOUNLOAD = 16,
	SWITCH_STATUS_TERM = 21
} switch_status_t;

/* Where a log line goes, and how the `userdata` argument of switch_log_printf is read: a session handle with
 * SESSION, otherwise the uuid of a call or NULL. */
typedef enum {
	SWITCH_CHANNEL_ID_LOG = 0,
	SWITCH_CHANNEL_ID_LOG_CLEAN = 1,
	SWITCH_CHANNEL_ID_EVENT = 2,
	SWITCH_CHANNEL_ID_SESSION = 3
} switch_text_channel_t;

typedef enum {
	SWITCH_LOG_DISABLE = -1,
	SWITCH_LOG_CONSOLE = 0,
	SWITCH_LOG_ALERT = 1,
	SWITCH_LOG_CRIT = 2,
	SWITCH_LOG_ERROR = 3,
	SWITCH_LOG_WARNING = 4,
	SWITCH_LOG_NOTICE = 5,
	SWITCH_LOG_INFO = 6,
	SWITCH_LOG_DEBUG = 7,
	SWITCH_LOG_DEBUG1 = 101
} switch_log_level_t;

/* What switch_core_session_ctl is asked. */
typedef enum {
	/* An int: the level above which no line is logged. A value below SWITCH_LOG_DISABLE sets none. The level in force comes back. */
	SCSC_LOGLEVEL = 6
} switch_session_ctl_t;

/* Flags of a channel, read with switch_channel_test_flag. They are indices, not bits. */
typedef enum {
	CF_ANSWERED = 1,
	CF_OUTBOUND = 2,
	CF_EARLY_MEDIA = 3,
	CF_TRANSFER = 6,
	CF_BRIDGED = 9,
	CF_HOLD = 10,
	CF_PROXY_MODE = 17,
	CF_BREAK = 23,
	CF_BROADCAST = 24,
	CF_PROXY_MEDIA = 32,
	CF_PAUSE_BUGS = 36,
	CF_PARK = 41,
	CF_THREAD_SLEEPING = 46,
	CF_LEG_HOLDING = 52,
	CF_MEDIA_SET = 55,
	CF_CONFERENCE = 84,
	CF_PROTO_HOLD = 98,
	CF_AUDIO_PAUSE_READ = 124,
	CF_AUDIO_PAUSE_WRITE = 125
} switch_channel_flag_t;

/* What the endpoint of a channel can do, read with switch_channel_test_cap: those that are used of a few. */
typedef enum {
	CC_MEDIA_ACK = 1,
	/* Pauses between digits are queued with them. */
	CC_QUEUEABLE_DTMF_DELAY = 6
} switch_channel_cap_t;

/* States of a channel in the order they are passed through: from CS_HANGUP on the call is over. */
typedef enum {
	CS_NEW = 0,
	CS_INIT = 1,
	CS_ROUTING = 2,
	CS_SOFT_EXECUTE = 3,
	CS_EXECUTE = 4,
	CS_EXCHANGE_MEDIA = 5,
	CS_PARK = 6,
	CS_CONSUME_MEDIA = 7,
	CS_HIBERNATE = 8,
	CS_RESET = 9,
	CS_HANGUP = 10,
	CS_REPORTING = 11,
	CS_DESTROY = 12,
	CS_NONE = 13
} switch_channel_state_t;

/* Why a call ended: those that are used of some hundred. */
typedef enum {
	SWITCH_CAUSE_NONE = 0,
	SWITCH_CAUSE_NORMAL_CLEARING = 16
} switch_call_cause_t;

/* Flags of reading and writing frames. */
typedef enum { SWITCH_IO_FLAG_NONE = 0, SWITCH_IO_FLAG_NOBLOCK = 1 << 0 } switch_io_flag_enum_t;
typedef uint32_t switch_io_flag_t;

/* Where a digit came from. */
typedef enum {
	SWITCH_DTMF_UNKNOWN = 0,
	SWITCH_DTMF_INBAND_AUDIO = 1,
	SWITCH_DTMF_RTP = 2,
	SWITCH_DTMF_ENDPOINT = 3,
	SWITCH_DTMF_APP = 4
} switch_dtmf_source_t;

typedef enum { SWITCH_DTMF_RECV = 0, SWITCH_DTMF_SEND = 1 } switch_dtmf_direction_t;

/* One digit. `duration` is in samples of 8 kHz, or, where it came by RTP, in those of the codec's RTP clock. */
typedef struct {
	char digit;
	uint32_t duration;
	int32_t flags;
	switch_dtmf_source_t source;
} switch_dtmf_t;

#endif
