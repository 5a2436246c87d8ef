/* Codec handles and implementations, and the frame of audio that carries a pointer to one. */
#ifndef FREESWITCH_ABI_CODEC_H
#define FREESWITCH_ABI_CODEC_H

#include "types.h"

typedef enum {
	SWITCH_CODEC_TYPE_AUDIO = 0,
	SWITCH_CODEC_TYPE_VIDEO = 1,
	SWITCH_CODEC_TYPE_T38 = 2,
	SWITCH_CODEC_TYPE_APP = 3
} switch_codec_type_t;

typedef enum {
	SWITCH_CODEC_FLAG_ENCODE = 1 << 0,
	SWITCH_CODEC_FLAG_DECODE = 1 << 1,
	SWITCH_CODEC_FLAG_PASSTHROUGH = 1 << 7,
	SWITCH_CODEC_FLAG_READY = 1 << 8
} switch_codec_flag_enum_t;

typedef enum {
	SFF_NONE = 0,
	SFF_CNG = 1 << 0,
	SFF_PLC = 1 << 3,
	SFF_PROXY_PACKET = 1 << 5,
	SFF_NOT_AUDIO = 1 << 8
} switch_frame_flag_enum_t;
typedef uint32_t switch_frame_flag_t;

struct switch_codec_interface;
union switch_codec_settings;
typedef struct switch_codec switch_codec_t;
typedef struct switch_frame switch_frame_t;
typedef union switch_codec_settings switch_codec_settings_t;

/* A function of a codec that only FreeSWITCH calls. */
typedef void (*switch_abi_codec_function_t)(void);

/* What a codec does at one rate, packet time and channel count. Filled by copy by
 * switch_core_session_get_read_impl and switch_core_session_get_write_impl.
 *
 * `samples_per_second` is what the signalling says (8000 for G.722), `actual_samples_per_second` what the
 * decoded audio has. `samples_per_packet` counts one channel's worth at the signalled rate;
 * `decoded_bytes_per_packet` is the size of one decoded packet, all channels, 16 bit. */
typedef struct switch_codec_implementation {
	switch_codec_type_t codec_type;
	switch_payload_t ianacode;
	char *iananame;
	char *fmtp;
	uint32_t samples_per_second;
	uint32_t actual_samples_per_second;
	int bits_per_second;
	int microseconds_per_packet;
	uint32_t samples_per_packet;
	uint32_t decoded_bytes_per_packet;
	uint32_t encoded_bytes_per_packet;
	uint8_t number_of_channels;
	int codec_frames_per_packet;
	switch_abi_codec_function_t init;
	switch_abi_codec_function_t encode;
	switch_abi_codec_function_t decode;
	switch_abi_codec_function_t encode_video;
	switch_abi_codec_function_t decode_video;
	switch_abi_codec_function_t codec_control;
	switch_abi_codec_function_t destroy;
	uint32_t codec_id;
	uint32_t impl_id;
	char *modname;
	struct switch_codec_implementation *next;
} switch_codec_implementation_t;

_Static_assert(sizeof(switch_codec_implementation_t) == 144, "size of switch_codec_implementation_t");
_Static_assert(_Alignof(switch_codec_implementation_t) == 8, "alignment of switch_codec_implementation_t");
_Static_assert(offsetof(switch_codec_implementation_t, ianacode) == 4, "ianacode");
_Static_assert(offsetof(switch_codec_implementation_t, iananame) == 8, "iananame");
_Static_assert(offsetof(switch_codec_implementation_t, samples_per_second) == 24, "samples_per_second");
_Static_assert(offsetof(switch_codec_implementation_t, actual_samples_per_second) == 28, "actual_samples_per_second");
_Static_assert(offsetof(switch_codec_implementation_t, microseconds_per_packet) == 36, "microseconds_per_packet");
_Static_assert(offsetof(switch_codec_implementation_t, samples_per_packet) == 40, "samples_per_packet");
_Static_assert(offsetof(switch_codec_implementation_t, decoded_bytes_per_packet) == 44, "decoded_bytes_per_packet");
_Static_assert(offsetof(switch_codec_implementation_t, number_of_channels) == 52, "number_of_channels");
_Static_assert(offsetof(switch_codec_implementation_t, codec_frames_per_packet) == 56, "codec_frames_per_packet");

/* An open codec. The caller owns the memory and zeroes it before switch_core_codec_init_with_bitrate; its address must
 * not change until switch_core_codec_destroy. */
struct switch_codec {
	struct switch_codec_interface *codec_interface;
	const switch_codec_implementation_t *implementation;
	char *fmtp_in;
	char *fmtp_out;
	uint32_t flags;
	switch_memory_pool_t *memory_pool;
	void *private_info;
	switch_payload_t agreed_pt;
	switch_mutex_t *mutex;
	struct switch_codec *next;
	switch_core_session_t *session;
	switch_frame_t *cur_frame;
};

_Static_assert(sizeof(switch_codec_t) == 96, "size of switch_codec_t");
_Static_assert(_Alignof(switch_codec_t) == 8, "alignment of switch_codec_t");
_Static_assert(offsetof(switch_codec_t, implementation) == 8, "implementation");
_Static_assert(offsetof(switch_codec_t, flags) == 32, "flags");
_Static_assert(offsetof(switch_codec_t, mutex) == 64, "mutex");

/* Placement of a video frame; here for the size of switch_frame_t only. */
struct switch_frame_geometry {
	int32_t w;
	int32_t h;
	int32_t x;
	int32_t y;
	int32_t z;
	int32_t M;
	int32_t X;
};

/* One packet's worth of audio. `datalen` and `buflen` are bytes, of `data`; `samples` counts one channel's worth. */
struct switch_frame {
	switch_codec_t *codec;
	const char *source;
	void *packet;
	uint32_t packetlen;
	void *extra_data;
	void *data;
	uint32_t datalen;
	uint32_t buflen;
	uint32_t samples;
	uint32_t rate;
	uint32_t channels;
	switch_payload_t payload;
	uint32_t timestamp;
	uint16_t seq;
	uint32_t ssrc;
	switch_bool_t m;
	switch_frame_flag_t flags;
	void *user_data;
	payload_map_t *pmap;
	void *img;
	struct switch_frame_geometry geometry;
};

_Static_assert(sizeof(switch_frame_t) == 152, "size of switch_frame_t");
_Static_assert(_Alignof(switch_frame_t) == 8, "alignment of switch_frame_t");
_Static_assert(offsetof(switch_frame_t, data) == 40, "data");
_Static_assert(offsetof(switch_frame_t, datalen) == 48, "datalen");
_Static_assert(offsetof(switch_frame_t, buflen) == 52, "buflen");
_Static_assert(offsetof(switch_frame_t, samples) == 56, "samples");
_Static_assert(offsetof(switch_frame_t, rate) == 60, "rate");
_Static_assert(offsetof(switch_frame_t, channels) == 64, "channels");
_Static_assert(offsetof(switch_frame_t, timestamp) == 72, "timestamp");
_Static_assert(offsetof(switch_frame_t, flags) == 88, "flags");
_Static_assert(offsetof(switch_frame_t, user_data) == 96, "user_data");
_Static_assert(offsetof(switch_frame_t, geometry) == 120, "geometry");

/* `rate`, `ms` and `channels` of 0 mean any. A NULL pool makes the codec own one. Not to be called on the media thread. */
switch_status_t switch_core_codec_init_with_bitrate(switch_codec_t *codec, const char *codec_name, const char *fmtp,
													const char *modname, uint32_t rate, int ms, int channels,
													uint32_t bitrate, uint32_t flags,
													const switch_codec_settings_t *codec_settings,
													switch_memory_pool_t *pool);
switch_status_t switch_core_codec_destroy(switch_codec_t *codec);

#endif
