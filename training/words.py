"""Words that the generators fill their forms with, and made-up words for what must be copied.

A name from a list can be learned by heart; a made-up one (`Zorvik`, `Melatun`) can only be copied
from the prompt. The skills that must work on unseen names therefore use made-up words widely.
"""

import random
from string import ascii_lowercase, ascii_uppercase

from legato.training.split import Split, draw


def words(text: str) -> tuple[str, ...]:
    """The words of a text, so that a table of words reads as one."""
    return tuple(text.split())


FIRST_NAMES = words(
    "Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mia Noah Olivia Peter Rosa Sam "
    "Tina Victor Wendy Adam Bella Carl Diana Erik Fiona George Hannah Ivan Julia Kevin Laura Mark "
    "Nina Oscar Paula Ralph Sara Tom Alice Bob Mary John Lucy Max Ella Hugo Maria Omar Priya Yuki "
    "Chen Ali Zoe Lena Paul Ruth Simon Vera"
)
FRUITS = words("apple pear plum cherry lemon orange banana grape peach melon mango fig kiwi lime")
ANIMALS = words(
    "cat dog horse cow sheep goat pig hen duck goose mouse rabbit fox wolf bear deer lion tiger "
    "zebra monkey frog snake fish whale shark bird owl eagle bee ant"
)
COLOURS = words("red blue green yellow white black brown grey pink purple orange gold silver")
OBJECTS = words(
    "book pen lamp chair table cup plate spoon fork knife bag box key clock phone coat hat shoe "
    "glove ring ball kite drum bell rope map coin candle mirror bottle basket blanket ladder "
    "hammer bucket"
)
PLACES_INSIDE = words("kitchen garden office bedroom hall garage cellar attic library school")
FOODS = words("bread rice soup cheese cake pasta salad honey butter milk tea coffee juice water")
NATURE = words("river hill lake forest mountain beach island field stone tree flower cloud star")
JOBS = words(
    "baker teacher doctor farmer painter driver nurse pilot cook singer writer gardener lawyer "
    "engineer plumber tailor sailor judge"
)
CITIES = words(
    "Paris London Berlin Rome Madrid Vienna Lisbon Oslo Dublin Athens Tokyo Cairo Delhi Boston "
    "Chicago Sydney Toronto Munich Milan Geneva Hamburg Porto Seattle Denver Dallas"
)
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
LANGUAGES = words("French German Spanish Italian Japanese Polish Dutch Greek Swedish Turkish")
NUMBER_WORDS = words("one two three four five six seven eight nine ten")
NOUNS = words(
    "account action activity airport album animal answer apartment app archive article artist "
    "asset attendance author avatar badge bakery bank barcode battery beach bicycle bill bonus "
    "border branch brand bridge budget building bus cable calendar camera campaign camp canal "
    "capacity car card carrier case castle category cathedral channel chapter charge church "
    "cinema claim class client clinic club coach code colleague collection college command "
    "comment commission condition conference connection contact contract cost coupon course court "
    "creator currency debt degree delay delivery density department deposit depth description "
    "destination device diameter diet discount district document donation dosage driver duration "
    "edition editor education elevation email employee energy engine entrance equipment error "
    "estate event exam expense factory fare farm feature fee festival field file film flavour "
    "fleet flight floor folder forecast formula frequency friend fuel function gallery game "
    "garden genre grade group guest guide habitat harbour hardware headline health heating height "
    "hospital host hour house identity image income index industry inflation ingredient instance "
    "instruction insurance interest invoice island issue item job journey key kitchen label "
    "laboratory lake landlord laptop lawyer league length lesson letter level library licence "
    "limit line link list load lock lounge machine magazine market match material meal measure "
    "medicine meeting member memory metal method mission mixture model module moisture monument "
    "motor movie music nation network newspaper node note notice number occupation office offer "
    "opinion option orbit order organisation origin output package page painting palace parent "
    "park parking parliament part partner passenger password patient payment penalty pension "
    "percentage permission phase photo picture pipeline plan planet plant platform player "
    "playlist policy pollution port portion position post power prediction prescription pressure "
    "printer prison prize process production profession profile profit program promotion property "
    "protocol province publication publisher pump quality quantity quarter queue quota race radio "
    "railway range ranking rate ratio reaction receipt recipe record reduction region "
    "registration relation release report request reservation reserve resident resolution "
    "resource restaurant result return revenue review road robot role roof route rule salon "
    "sample satellite scale school score screen section sector sensor sentence series server "
    "service session shift ship signal signature size skill software solution song source sport "
    "stadium staff stage state statement statistics statue stop storage store story strategy "
    "student studio subject subscription suburb success supplier supply support surface survey "
    "symbol system tariff task tax taxi team technology template tenant term terminal theatre "
    "theme thickness ticket tide title token tool tournament tower track trade train transaction "
    "transport treatment tunnel university unit update usage valley valuation value variety "
    "vehicle vendor version victory video view vineyard visibility visitor volcano voltage volume "
    "vote voucher wage warehouse warning warranty wave width wind window winner workshop yield "
    "zone"
)
_OTHER_WORDS = words(
    "additional alphabetical angry answers assistant author backwards before begin between "
    "birthday blank boolean capital celsius choose compare complete content cost current "
    "difference dreamed everything exactly example extract fahrenheit fetch friendly gather gives "
    "happen helpful integer items kindly known language laugh less letters lookup lower market "
    "means message might minus minute mount much multiply must name opposite order other "
    "parameters percent person pieces places plain please plus popular precise press properties "
    "quickly read remain repeat required reserve response reverse same say schema search send "
    "serves should smile something sort special specified speech spell stands starts store string "
    "subtract suddenly system takes talk target tells test these today together travel turns type "
    "upper usual value valley verse wants weather week which wish wonder would write written "
    "yesterday"
)
COMMON_WORDS = (*NUMBER_WORDS, *FRUITS, *ANIMALS, *COLOURS, *OBJECTS, *FOODS, *NATURE)

_ONSETS = words("b d f g h j k l m n p r s t v w z br dr gr kr pl tr st ch sh qu c y")
_VOWELS = words("a e i o u a e i o u ai ea ou")
_WORDS = (*COMMON_WORDS, *JOBS, *PLACES_INSIDE, *(name.lower() for name in (*CITIES, *LANGUAGES)))
_SPELLINGS = tuple(word.lower() for word in (*_WORDS, *FIRST_NAMES, *NOUNS, *_OTHER_WORDS))
_CODAS = ("", "", "", "n", "r", "l", "k", "s", "m", "t", "x", "nd")


def _made_up(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.08:  # any letters in any order, so that no pair of letters is new
        return "".join(rng.choices(ascii_lowercase, k=rng.randint(3, 8)))
    if kind < 0.25:  # pieces of words, so that no piece the tokenizer knows is new
        start, end = rng.choice(_WORDS), rng.choice(_WORDS)
        return start[: rng.randint(1, 5)] + end[-rng.randint(2, 6) :]
    syllables = rng.choice((1, 1, 1, 2, 2, 2, 3))
    start = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables))
    return start + rng.choice(_ONSETS[:18]) + rng.choice(_VOWELS) + rng.choice(_CODAS)


def _stretches(rng: random.Random) -> str:
    """Two or three stretches of words, from anywhere in them.

    A tokenizer knows many a stretch as a token that its own words seldom show alone (`ation`,
    for it has `location`); as part of a name, each gets copied often enough to be learned.
    """
    return "".join(_stretch(rng) for _ in range(rng.choice((2, 2, 3))))


def _stretch(rng: random.Random) -> str:
    word = rng.choice(_SPELLINGS)
    start = rng.choice((0, rng.randrange(len(word) - 1), rng.randrange(len(word) - 1)))
    return word[start:] if rng.random() < 0.5 else word[start : start + rng.randint(2, 6)]


def made_up_word(rng: random.Random, split: Split) -> str:
    """A lower-case word that no dictionary has, mostly of 2 to 4 syllables."""
    if split is Split.TRAIN and rng.random() < 0.3:
        return draw(rng, split, _stretches)
    return draw(rng, split, _made_up)


def noun(rng: random.Random) -> str:
    """A noun of tools and of what tools tell; none that the evaluation holds out."""
    return rng.choice(NOUNS)


def made_up_name(rng: random.Random, split: Split) -> str:
    """A made-up word with a capital letter."""
    return made_up_word(rng, split).capitalize()


def person(rng: random.Random, split: Split) -> str:
    """A first name: made up always where held out, and half of the time where trained."""
    if split is Split.TRAIN and rng.random() < 0.5:
        return rng.choice(FIRST_NAMES)
    return made_up_name(rng, split)


def place(rng: random.Random, split: Split) -> str:
    """A town's name: made up always where held out, and two times in three where trained."""
    if split is Split.TRAIN and rng.random() < 0.35:
        return rng.choice(CITIES)
    name = made_up_name(rng, split)
    return f"{rng.choice(('New', 'Port', 'Old', 'San'))} {name}" if rng.random() < 0.1 else name


def code(rng: random.Random, split: Split) -> str:
    """An article's or an order's number, as `KD-3071`."""
    return draw(rng, split, _code)


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choices(ascii_uppercase, k=rng.randint(1, 3)))
    return f"{letters}{rng.choice(('-', '', '_'))}{rng.randrange(10 ** rng.randint(1, 5))}"
