/* Codecs, and a frame's way through a session in either direction. */
#include "host.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Set on codecs that own their pool; FreeSWITCH's own flag, of no concern to modules. */
#define CODEC_OWNS_POOL (1u << 5)

struct switch_codec_interface {
	const char *interface_name;
};

static struct switch_codec_interface linear = {"L16"};
static struct {
	pthread_mutex_t mutex;
	switch_codec_implementation_t *first;
	uint32_t next_id;
} implementations = {.mutex = PTHREAD_MUTEX_INITIALIZER, .next_id = 1};

static uint8_t no_audio[SWITCH_RECOMMENDED_BUFFER_SIZE];
static switch_frame_t comfort_noise = {
	.data = no_audio, .datalen = sizeof(no_audio), .buflen = sizeof(no_audio), .flags = SFF_CNG};

/* The implementation of linear audio of this shape: one each, never freed, so that their addresses distinguish them. */
static const switch_codec_implementation_t *implementation(uint32_t rate, uint32_t ms, uint32_t channels)
{
	static const uint32_t rates[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000};
	bool known = false;
	for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
		known = known || rates[i] == rate;
	}
	uint32_t samples = (uint32_t)((uint64_t)rate * ms / 1000);
	if (!known || !ms || ms > 120 || ms % 2 || !channels || channels > 2 ||
		samples * channels * 2 > SWITCH_RECOMMENDED_BUFFER_SIZE) {
		return NULL;
	}
	pthread_mutex_lock(&implementations.mutex);
	switch_codec_implementation_t *found = implementations.first;
	while (found && (found->actual_samples_per_second != rate || found->microseconds_per_packet != (int)ms * 1000 ||
					 found->number_of_channels != channels)) {
		found = found->next;
	}
	if (!found) {
		found = calloc(1, sizeof(*found));
		found->codec_type = SWITCH_CODEC_TYPE_AUDIO;
		found->ianacode = 70;
		found->iananame = (char *)"L16";
		found->samples_per_second = found->actual_samples_per_second = rate;
		found->bits_per_second = (int)(rate * 16 * channels);
		found->microseconds_per_packet = (int)ms * 1000;
		found->samples_per_packet = samples;
		found->decoded_bytes_per_packet = found->encoded_bytes_per_packet = samples * channels * 2;
		found->number_of_channels = (uint8_t)channels;
		found->codec_frames_per_packet = 1;
		found->codec_id = 1;
		found->impl_id = ++implementations.next_id;
		found->next = implementations.first;
		implementations.first = found;
	}
	pthread_mutex_unlock(&implementations.mutex);
	return found;
}

static bool codec_ready(const switch_codec_t *codec)
{
	return codec && (codec->flags & SWITCH_CODEC_FLAG_READY) && codec->mutex && codec->codec_interface &&
		   codec->implementation;
}

switch_status_t switch_core_codec_init_with_bitrate(switch_codec_t *codec, const char *codec_name, const char *fmtp,
													const char *modname, uint32_t rate, int ms, int channels,
													uint32_t bitrate, uint32_t flags,
													const switch_codec_settings_t *codec_settings,
													switch_memory_pool_t *pool)
{
	(void)fmtp, (void)modname, (void)bitrate, (void)codec_settings;
	memset(codec, 0, sizeof(*codec));
	const switch_codec_implementation_t *found =
		strcasecmp(codec_name, "L16") == 0
			? implementation(rate ? rate : 8000, ms ? (uint32_t)ms : 20, channels ? (uint32_t)channels : 1)
			: NULL;
	if (!found) {
		switch_log_printf(SWITCH_CHANNEL_ID_LOG, __FILE__, __func__, __LINE__, NULL, SWITCH_LOG_ERROR,
						  "Codec %s Exists but not at the desired implementation. %dhz %dms %dch\n", codec_name,
						  (int)rate, ms, channels);
		return SWITCH_STATUS_NOTIMPL;
	}
	codec->flags = flags | SWITCH_CODEC_FLAG_READY | (pool ? 0 : CODEC_OWNS_POOL);
	codec->memory_pool = pool ? pool : pool_new();
	codec->codec_interface = &linear;
	codec->implementation = found;
	codec->mutex = mutex_new(codec->memory_pool);
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_core_codec_destroy(switch_codec_t *codec)
{
	if (!codec_ready(codec)) {
		return SWITCH_STATUS_FALSE;
	}
	mutex_lock(codec->mutex);
	codec->flags &= ~(uint32_t)SWITCH_CODEC_FLAG_READY;
	mutex_unlock(codec->mutex);
	switch_memory_pool_t *own = codec->flags & CODEC_OWNS_POOL ? codec->memory_pool : NULL;
	memset(codec, 0, sizeof(*codec));
	if (own) {
		pool_free(own);
	}
	return SWITCH_STATUS_SUCCESS;
}

void session_set_codec(switch_core_session_t *session, uint32_t rate, uint32_t ptime_ms, uint32_t channels)
{
	const switch_codec_implementation_t *found = implementation(rate, ptime_ms, channels);
	if (!found) {
		abort();
	}
	/* Both at once or neither, as a reader may write and a writer may read. */
	for (;;) {
		mutex_lock(session->codec_read_mutex);
		if (mutex_trylock(session->codec_write_mutex)) {
			break;
		}
		mutex_unlock(session->codec_read_mutex);
		sleep_until_ns(now_ns() + 1000000);
	}
	for (int direction = 0; direction < 2; direction++) {
		switch_codec_t **codec = direction ? &session->write_codec : &session->read_codec;
		if (!*codec) {
			*codec = pool_alloc(session->pool, sizeof(**codec));
			switch_core_codec_init_with_bitrate(*codec, "L16", NULL, NULL, rate, (int)ptime_ms, (int)channels, 0,
												SWITCH_CODEC_FLAG_ENCODE | SWITCH_CODEC_FLAG_DECODE, NULL, session->pool);
		}
		/* A frame of this codec may be on its way to another session. */
		mutex_lock((*codec)->mutex);
		(*codec)->implementation = found;
		mutex_unlock((*codec)->mutex);
	}
	pthread_mutex_lock(&session->impl_mutex);
	session->read_impl = session->write_impl = *found;
	pthread_mutex_unlock(&session->impl_mutex);
	session->raw_write_buffer.used = 0;
	mutex_unlock(session->codec_write_mutex);
	mutex_unlock(session->codec_read_mutex);
}

static switch_status_t get_impl(switch_core_session_t *session, const switch_codec_implementation_t *from,
								switch_codec_implementation_t *impp)
{
	pthread_mutex_lock(&session->impl_mutex);
	*impp = *from;
	pthread_mutex_unlock(&session->impl_mutex);
	if (impp->codec_id && !session->codec_unsettled) {
		return SWITCH_STATUS_SUCCESS;
	}
	memset(impp, 0, sizeof(*impp));
	impp->number_of_channels = 1;
	return SWITCH_STATUS_FALSE;
}

switch_status_t switch_core_session_get_read_impl(switch_core_session_t *session, switch_codec_implementation_t *impp)
{
	return get_impl(session, &session->read_impl, impp);
}

/* Nothing here puts another codec in front of the call's own. */
switch_status_t switch_core_session_get_real_read_impl(switch_core_session_t *session,
													   switch_codec_implementation_t *impp)
{
	return get_impl(session, &session->read_impl, impp);
}

switch_codec_t *switch_core_session_get_read_codec(switch_core_session_t *session)
{
	return session->codec_unsettled ? NULL : session->read_codec;
}

switch_codec_t *switch_core_session_get_write_codec(switch_core_session_t *session)
{
	return session->codec_unsettled ? NULL : session->write_codec;
}

switch_status_t switch_core_session_get_write_impl(switch_core_session_t *session, switch_codec_implementation_t *impp)
{
	return get_impl(session, &session->write_impl, impp);
}

switch_status_t switch_core_session_read_frame(switch_core_session_t *session, switch_frame_t **frame,
											   switch_io_flag_t flags, int stream_id)
{
	*frame = &comfort_noise;
	/* Somebody is changing the codec, or another thread reads: come again. */
	if (!mutex_trylock(session->codec_read_mutex)) {
		sleep_until_ns(now_ns() + 1000000);
		return SWITCH_STATUS_SUCCESS;
	}
	mutex_unlock(session->codec_read_mutex);
	if (channel_down(session->channel)) {
		return SWITCH_STATUS_FALSE;
	}
	switch_frame_t *read = &session->raw_read_frame;
	if (!endpoint_wait(session)) {
		return channel_down(session->channel) ? SWITCH_STATUS_FALSE : SWITCH_STATUS_SUCCESS;
	}
	mutex_lock(session->codec_read_mutex);
	endpoint_take(session, read);
	/* On hold by either party: bugs are given nothing. */
	if (session->channel->flags[CF_HOLD] || session->channel->flags[CF_PROTO_HOLD] || session->channel->flags[CF_PROXY_MODE]) {
		mutex_unlock(session->codec_read_mutex);
		return SWITCH_STATUS_BREAK;
	}
	read->codec = session->read_codec;
	*frame = read;
	mutex_unlock(session->codec_read_mutex);
	for (struct hook *hook = hook_after(session, &session->read_frame_hooks); hook; hook = hook_after(session, &hook->next)) {
		watch_enter();
		switch_status_t status = hook->function.read_frame(session, frame, flags, stream_id);
		watch_leave();
		if (status != SWITCH_STATUS_SUCCESS) {
			return status;
		}
	}
	mutex_lock(session->codec_read_mutex);
	mutex_lock(session->read_codec->mutex);
	bugs_read(session, read);
	mutex_unlock(session->read_codec->mutex);
	mutex_unlock(session->codec_read_mutex);
	return SWITCH_STATUS_SUCCESS;
}

/* Nearest sample, first and last channel: enough to tell that audio of another shape arrives, not to listen to. */
static void convert(switch_core_session_t *session, const switch_frame_t *from,
					const switch_codec_implementation_t *shape)
{
	const switch_codec_implementation_t *to = &session->write_impl;
	const int16_t *in = from->data;
	int16_t *out = (int16_t *)(void *)session->raw_write_data;
	size_t frames_in = from->datalen / 2 / shape->number_of_channels;
	size_t frames_out = frames_in * to->actual_samples_per_second / shape->actual_samples_per_second;
	for (size_t i = 0; i < frames_out; i++) {
		size_t at = i * shape->actual_samples_per_second / to->actual_samples_per_second;
		for (size_t channel = 0; channel < to->number_of_channels; channel++) {
			size_t source = channel < shape->number_of_channels ? channel : (size_t)shape->number_of_channels - 1;
			out[i * to->number_of_channels + channel] = in[at * shape->number_of_channels + source];
		}
	}
	session->raw_write_frame = *from;
	session->raw_write_frame.data = session->raw_write_data;
	session->raw_write_frame.datalen = (uint32_t)(frames_out * to->number_of_channels * 2);
	session->raw_write_frame.buflen = sizeof(session->raw_write_data);
	session->raw_write_frame.samples = (uint32_t)frames_out;
	session->raw_write_frame.rate = to->actual_samples_per_second;
	session->raw_write_frame.channels = to->number_of_channels;
}

/* With both codecs locked. */
static switch_status_t write_locked(switch_core_session_t *session, switch_frame_t *frame)
{
	switch_frame_t *write_frame = frame;
	const switch_codec_implementation_t *shape = frame->codec->implementation, *to = &session->write_impl;
	bool same = session->write_codec->implementation == shape, replaced = false;
	if (!same && (shape->actual_samples_per_second != to->actual_samples_per_second ||
				  shape->number_of_channels != to->number_of_channels)) {
		convert(session, frame, shape);
		write_frame = &session->raw_write_frame;
	}
	write_frame = bugs_write(session, write_frame, &replaced);
	if (same && !replaced) {
		endpoint_write(session, frame);
		return SWITCH_STATUS_SUCCESS;
	}
	if (same) {
		if (write_frame->datalen < to->decoded_bytes_per_packet) {
			memset(write_frame->data, 255, to->decoded_bytes_per_packet - write_frame->datalen);
			write_frame->datalen = to->decoded_bytes_per_packet;
		}
		endpoint_write(session, write_frame);
		return SWITCH_STATUS_SUCCESS;
	}
	/* Packets of another length: cut anew. */
	if (!session->raw_write_buffer.capacity) {
		bugs_flush_all(session);
	}
	buffer_write(&session->raw_write_buffer, write_frame->data, write_frame->datalen);
	while (session->raw_write_buffer.used >= to->decoded_bytes_per_packet) {
		switch_frame_t packet = *write_frame;
		_Alignas(8) uint8_t data[SWITCH_RECOMMENDED_BUFFER_SIZE];
		packet.data = data;
		packet.datalen = (uint32_t)buffer_read(&session->raw_write_buffer, data, to->decoded_bytes_per_packet);
		endpoint_write(session, &packet);
	}
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_core_session_write_frame(switch_core_session_t *session, switch_frame_t *frame,
												switch_io_flag_t flags, int stream_id)
{
	(void)flags, (void)stream_id;
	if (channel_down(session->channel) || endpoint_stands_still(session)) {
		return SWITCH_STATUS_FALSE;
	}
	/* Of two threads that write at once, one loses its frame. */
	if (!mutex_trylock(session->codec_write_mutex)) {
		return SWITCH_STATUS_SUCCESS;
	}
	mutex_unlock(session->codec_write_mutex);
	if ((frame->flags & SFF_CNG) || session->channel->flags[CF_AUDIO_PAUSE_WRITE]) {
		return SWITCH_STATUS_SUCCESS;
	}
	if (!codec_ready(session->write_codec)) {
		channel_hangup(session->channel, 88);
		return SWITCH_STATUS_FALSE;
	}
	if (session->channel->flags[CF_HOLD] || session->channel->flags[CF_PROXY_MODE]) {
		return SWITCH_STATUS_SUCCESS;
	}
	mutex_lock(session->codec_write_mutex);
	switch_status_t status = SWITCH_STATUS_FALSE;
	if (!(frame->codec && frame->codec->implementation)) {
		switch_log_printf(SWITCH_CHANNEL_ID_SESSION, __FILE__, __func__, __LINE__, (const char *)session,
						  SWITCH_LOG_ERROR, "%s has received a bad frame with no codec!\n", session->channel->name);
		channel_hangup(session->channel, 27);
	} else if (switch_channel_test_ready(session->channel, SWITCH_TRUE, SWITCH_TRUE)) {
		mutex_lock(session->write_codec->mutex);
		mutex_lock(frame->codec->mutex);
		if (codec_ready(session->write_codec) && codec_ready(frame->codec)) {
			status = write_locked(session, frame);
		}
		mutex_unlock(session->write_codec->mutex);
		mutex_unlock(frame->codec->mutex);
	}
	mutex_unlock(session->codec_write_mutex);
	return status;
}
