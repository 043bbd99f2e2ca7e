"""The vocabulary of `parse_style`: what each word or phrase of a prompt says about beat, feel, instruments, density,
intensity and articulation. The first phrase of an entry names it. Plurals need no entry of their own, and a
hyphen is a space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from engine.sketch.score import Instrument as In


class Feel(StrEnum):
    STRAIGHT = "straight"
    SWING = "swing"


class Beat(StrEnum):
    """The drum pattern's family."""

    BACKBEAT = "backbeat"
    FOUR_ON_THE_FLOOR = "four on the floor"
    HALF_TIME = "half-time"
    DOUBLE_TIME = "double-time"
    BREAKBEAT = "breakbeat"
    BOSSA = "bossa nova"
    TRAIN = "train beat"
    ONE_DROP = "one drop"
    SWING_RIDE = "swing ride"
    WALTZ = "waltz"
    MARCH = "march"
    BALLAD = "ballad"


@dataclass(frozen=True)
class Says:
    """What a phrase says. `rank` decides between beats and feels: 1 genre, 2 a rhythm named outright, 3 both.

    `names` are the instruments that the phrase names; of a `whole` class the first stands for it, and all are meant
    where it is ruled out. `implies` are those that a genre is played on unless others are named.
    """

    beat: Beat | None = None
    feel: Feel | None = None
    rank: int = 2
    names: tuple[In, ...] = ()
    whole: bool = False
    implies: tuple[In, ...] = ()
    density: float = 0.0
    intensity: float = 0.0
    legato: bool | None = None
    minor: bool | None = None


KITS = (In.ACOUSTIC_KIT, In.BRUSH_KIT, In.ELECTRONIC_KIT)
BASSES = (In.FINGER_BASS, In.UPRIGHT_BASS, In.PICK_BASS, In.SYNTH_BASS)
KEYS = (In.PIANO, In.ELECTRIC_PIANO, In.ORGAN)
GUITARS = (In.CLEAN_GUITAR, In.ACOUSTIC_GUITAR, In.MUTED_GUITAR, In.DRIVEN_GUITAR)
STRINGS = (In.STRING_ENSEMBLE, In.PIZZICATO)
SYNTHS = (In.WARM_PAD, In.SYNTH_LEAD, In.SYNTH_PLUCK)
BRASS = (In.BRASS_SECTION, In.TRUMPET)
WOODWINDS = (In.FLUTE, In.CLARINET, In.SAXOPHONE)
CLASSES = (KITS, BASSES, KEYS, GUITARS, STRINGS, SYNTHS, BRASS, WOODWINDS)
_ELECTRONIC = (In.ELECTRONIC_KIT, In.SYNTH_BASS)


def _all(*instruments: In) -> Says:
    return Says(names=instruments, whole=True)


def _one(instrument: In) -> Says:
    return Says(names=(instrument,))


def _genre(
    beat: Beat | None = None,
    *implies: In,
    feel: Feel | None = None,
    density: float = 0.0,
    intensity: float = 0.0,
    legato: bool | None = None,
) -> Says:
    return Says(beat, feel, 1, (), False, implies, density, intensity, legato)


_INSTRUMENTS: Mapping[str, Says] = {
    "drums|drum|drum kit|drum set|drummer|bass drum|kick drum|snare|hi-hat|hihat": _all(*KITS),
    "acoustic drum|acoustic kit|acoustic drum kit|live drum|real drum": _one(In.ACOUSTIC_KIT),
    "brush|brushes|brushed|brushed drum|brush drum|brush kit|brushed snare|brushwork|with brushes": _one(In.BRUSH_KIT),
    "electronic drum|drum machine|electronic kit|programmed drum|synth drum|808 drum|909|808 kit|electronic beat": _one(
        In.ELECTRONIC_KIT
    ),
    "percussion|hand percussion|conga|bongo|shaker|tambourine|cabasa|handclap|hand clap|maraca|cowbell": _one(
        In.HAND_PERCUSSION
    ),
    "bass|bassline|bass line|bassist": _all(*BASSES),
    "upright bass|double bass|acoustic bass|contrabass|stand up bass|walking bass": _one(In.UPRIGHT_BASS),
    "finger bass|fingerstyle bass|fingered bass|electric bass|bass guitar|fretless bass|p bass|slap bass": _one(
        In.FINGER_BASS
    ),
    "pick bass|picked bass|plectrum bass": _one(In.PICK_BASS),
    "synth bass|sub bass|808|808 bass|moog bass|acid bass|bass synth|reese bass|synthesizer bass": _one(In.SYNTH_BASS),
    "keyboard|keys": _all(*KEYS),
    "piano|grand piano|upright piano|pianist": _one(In.PIANO),
    "electric piano|rhodes|fender rhodes|wurlitzer|wurli|e piano|epiano|fm piano": _one(In.ELECTRIC_PIANO),
    "organ|hammond|hammond organ|church organ|b3": _one(In.ORGAN),
    "guitar|guitarist": _all(*GUITARS),
    "acoustic guitar|nylon guitar|steel string guitar|strummed guitar|fingerpicked guitar|folk guitar": _one(
        In.ACOUSTIC_GUITAR
    ),
    "clean guitar|electric guitar|clean electric guitar|jazz guitar|jangly guitar": _one(In.CLEAN_GUITAR),
    "muted guitar|palm muted guitar|palm muted|funk guitar|funky guitar|wah guitar": _one(In.MUTED_GUITAR),
    "distorted guitar|overdriven guitar|driven guitar|crunchy guitar|fuzz guitar|heavy guitar|power chord|"
    "distorted electric guitar|rock guitar|metal guitar": _one(In.DRIVEN_GUITAR),
    "strings|string|string section|violin|viola|cello": _all(*STRINGS),
    "string ensemble|string orchestra|string quartet|orchestra|lush strings|legato strings": _one(In.STRING_ENSEMBLE),
    "pizzicato|pizzicato strings|plucked strings": _one(In.PIZZICATO),
    "synth|synthesizer|synthesiser": _all(*SYNTHS),
    "pad|warm pad|synth pad": _one(In.WARM_PAD),
    "synth lead|lead synth": _one(In.SYNTH_LEAD),
    "synth pluck|pluck|arp|arpeggio|arpeggiated synth|arpeggiator|synth arp": _one(In.SYNTH_PLUCK),
    "brass|brasses|horn section": _all(*BRASS),
    "horn|brass section|brass stabs|trombone|french horn": _one(In.BRASS_SECTION),
    "trumpet|muted trumpet|flugelhorn": _one(In.TRUMPET),
    "woodwind|wind instrument": _all(*WOODWINDS),
    "flute": _one(In.FLUTE),
    "clarinet|bass clarinet": _one(In.CLARINET),
    "sax|saxes|saxophone|tenor sax|alto sax|saxophonist|tenor saxophone|alto saxophone|baritone sax": _one(
        In.SAXOPHONE
    ),
    "fx|sound effect|riser|sweep|downlifter|whoosh": _one(In.EFFECTS),
}

_RHYTHMS: Mapping[str, Says] = {
    "four on the floor|four to the floor|4 on the floor|4 to the floor": Says(Beat.FOUR_ON_THE_FLOOR),
    "half-time|halftime|half-time feel": Says(Beat.HALF_TIME),
    "double-time|doubletime|double-time feel|d beat|blast beat": Says(Beat.DOUBLE_TIME),
    "breakbeat|break beat|amen break|boom bap": Says(Beat.BREAKBEAT),
    "bossa|bossa nova|bossanova|samba": Says(Beat.BOSSA, implies=(In.ACOUSTIC_GUITAR, In.UPRIGHT_BASS)),
    "train beat": Says(Beat.TRAIN),
    "one drop": Says(Beat.ONE_DROP),
    "swing ride|swing time|walking swing": Says(Beat.SWING_RIDE, Feel.SWING),
    "backbeat|back beat": Says(Beat.BACKBEAT),
    "waltz": Says(Beat.WALTZ),
    "jazz waltz|swing waltz": Says(Beat.SWING_RIDE, Feel.SWING, rank=3, implies=(In.BRUSH_KIT, In.UPRIGHT_BASS)),
    "march|marching|military drum|military snare": Says(Beat.MARCH),
    "ballad": Says(Beat.BALLAD, intensity=-0.2),
    "power ballad": Says(Beat.BALLAD, intensity=0.3),
    "lullaby": Says(Beat.BALLAD, intensity=-0.6, density=-0.3),
    "swing|swinging|swung|shuffle|shuffled|shuffling|triplet feel|swing feel|lazy swing": Says(feel=Feel.SWING),
    "straight|straight eighth|straight 8th|straight feel|straight time|unswung": Says(feel=Feel.STRAIGHT),
}

_GENRES: Mapping[str, Says] = {
    "disco|nu disco": _genre(Beat.FOUR_ON_THE_FLOOR, In.MUTED_GUITAR, In.FINGER_BASS, intensity=0.2),
    "house|deep house|tech house|hard house|techno|trance|edm|eurodance|dance music|dance pop": _genre(
        Beat.FOUR_ON_THE_FLOOR, *_ELECTRONIC
    ),
    "electronic|electronica|synthwave|synth pop|synthpop|electro|chiptune": _genre(None, *_ELECTRONIC),
    "trap|dubstep|drill": _genre(Beat.HALF_TIME, *_ELECTRONIC),
    "hip hop|hiphop|rap|rapping": _genre(Beat.BREAKBEAT, *_ELECTRONIC),
    "lo-fi|lofi|lo fi hip hop|lofi hip hop|chillhop": _genre(
        Beat.BREAKBEAT, In.ELECTRIC_PIANO, density=-0.2, intensity=-0.4
    ),
    "drum and bass|drum n bass|drum 'n' bass|dnb|jungle": _genre(Beat.BREAKBEAT, *_ELECTRONIC, density=0.4),
    "funk|funky": _genre(Beat.BREAKBEAT, In.FINGER_BASS, In.MUTED_GUITAR, density=0.2),
    "soul|neo-soul|r&b|rnb|motown": _genre(None, In.ELECTRIC_PIANO, In.FINGER_BASS),
    "gospel": _genre(None, In.ORGAN, In.PIANO, intensity=0.2),
    "blues|bluesy": _genre(Beat.BACKBEAT, feel=Feel.SWING),
    "jazz|jazzy|bebop|hard bop|big band|swing jazz|jazz swing|cool jazz": _genre(
        Beat.SWING_RIDE, In.UPRIGHT_BASS, In.PIANO, feel=Feel.SWING
    ),
    "smooth jazz": _genre(None, In.ELECTRIC_PIANO, In.FINGER_BASS, intensity=-0.2),
    "latin|salsa|son cubano": _genre(Beat.BOSSA, In.HAND_PERCUSSION, In.UPRIGHT_BASS, density=0.2),
    "reggae|dub|roots reggae": _genre(Beat.ONE_DROP, In.FINGER_BASS, In.ORGAN),
    "country|bluegrass|rockabilly|americana": _genre(Beat.TRAIN, In.ACOUSTIC_GUITAR),
    "folk|singer songwriter|acoustic pop": _genre(None, In.ACOUSTIC_GUITAR, density=-0.2, intensity=-0.2),
    "rock|indie rock|rock n roll|rock and roll|alternative rock": _genre(
        Beat.BACKBEAT, In.DRIVEN_GUITAR, In.PICK_BASS, intensity=0.3
    ),
    "hard rock|grunge": _genre(Beat.BACKBEAT, In.DRIVEN_GUITAR, In.PICK_BASS, intensity=0.7),
    "soft rock": _genre(Beat.BACKBEAT, In.CLEAN_GUITAR, intensity=-0.2),
    "punk|punk rock|hardcore|thrash": _genre(Beat.DOUBLE_TIME, In.DRIVEN_GUITAR, In.PICK_BASS, intensity=0.7),
    "metal|heavy metal|thrash metal": _genre(Beat.DOUBLE_TIME, In.DRIVEN_GUITAR, In.PICK_BASS, intensity=0.9),
    "doom metal|doom": _genre(Beat.HALF_TIME, In.DRIVEN_GUITAR, In.PICK_BASS, intensity=0.8, density=-0.3),
    "pop|indie pop": _genre(),
    "ambient|drone": _genre(None, In.WARM_PAD, density=-0.7, intensity=-0.6, legato=True),
    "cinematic|orchestral|film score|soundtrack": _genre(None, In.STRING_ENSEMBLE, In.BRASS_SECTION, legato=True),
}

_CHARACTER: Mapping[str, Says] = {
    "sparse|sparsely|minimal|minimalist|minimalistic|spacious|bare|stripped down|stripped back": Says(density=-0.6),
    "simple|understated|airy|uncluttered|restrained": Says(density=-0.35),
    "laid back|relaxed|chill|chilled": Says(density=-0.2, intensity=-0.3),
    "busy|dense|intricate|complex|virtuosic|frantic": Says(density=0.6),
    "driving|propulsive|relentless|pumping": Says(density=0.4, intensity=0.5),
    "energetic|upbeat|lively|fast paced|exciting": Says(density=0.25, intensity=0.4),
    "soft|softly|gentle|gently|quiet|quietly|delicate|tender|whispering": Says(intensity=-0.6),
    "calm|mellow|intimate|subtle|peaceful|soothing|dreamy": Says(intensity=-0.4, density=-0.1),
    "hard|hard hitting|aggressive|heavy|loud|powerful|intense|fierce|brutal": Says(intensity=0.7),
    "punchy|epic|big|anthemic|strong": Says(intensity=0.4),
    "solo|unaccompanied": Says(),
    "legato|sustained|flowing|long notes": Says(legato=True),
    "staccato|choppy|short notes|stabs|clipped|detached": Says(legato=False),
    "sad|melancholic|melancholy|sorrowful|mournful|gloomy|dark": Says(minor=True),
    "happy|cheerful|joyful|joyous": Says(minor=False),
}


def _phrases() -> Iterator[tuple[str, tuple[str, Says]]]:
    for table in (_INSTRUMENTS, _RHYTHMS, _GENRES, _CHARACTER):
        for phrases, says in table.items():
            for phrase in phrases.split("|"):
                # Adjectives stand for themselves.
                name = phrase if table is _CHARACTER else phrases.partition("|")[0]
                yield phrase.replace("-", " "), (name, says)


VOCABULARY: Mapping[str, tuple[str, Says]] = dict(_phrases())
"""Phrase as `parse_style` sees it -> its entry's name, and what it says."""

_NEGATORS = (
    "no not without w/o sans minus never nor neither lacking avoid avoiding exclude excluding omit omitting remove "
    "removing don't dont doesn't doesnt isn't isnt aren't arent can't cannot"
)
_CONTRASTS = "but with only just instead featuring plus although though however yet use using then"
NEGATORS, CONTRASTS = frozenset(_NEGATORS.split()), frozenset(_CONTRASTS.split())
LESS = frozenset(("less", "fewer"))
STRONGER = frozenset(("very", "extremely", "really", "super"))
WEAKER = frozenset(("slightly", "somewhat", "bit", "little"))
ORDINARY = {  # words that mean something else after these
    "house": ("the", "my", "our", "your", "a", "this"),
    "march": ("in", "early", "late", "last", "next"),
    "country": ("the", "my", "our", "your", "a", "this"),
    "straight": ("go", "goes", "going"),
}
